"""`act doctor`: checks of all that act needs on this machine, each with what to do about a problem."""

import argparse
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.text import Text

from ..errors import ExitCode
from ..output import bytes_text, console, print_json
from ..progress import Progress
from .arguments import add_json, examples

NAME = "doctor"
HELP = "check what act needs on this machine"

_MINIMUM_FREE_BYTES = 2_000_000_000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check: `ok`, or a `problem` with what to do."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_json(parser)
    parser.epilog = examples("act doctor", "act doctor --json") + "\n\nexit code 3 where there is a problem"


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Run every check; 3 where one of them found a problem."""
    findings = []
    with progress.stage("check", total=len(CHECKS)) as stage:
        for name, check in CHECKS.items():
            stage.say(name)
            findings.append(_guarded(name, check))
            stage.advance(text="")
    healthy = all(finding.ok for finding in findings)
    if args.json:
        print_json({"ok": healthy, "checks": [asdict(finding) for finding in findings]})
    else:
        _print(findings)
    return ExitCode.OK if healthy else ExitCode.DEVICE


def _print(findings: list[Finding]) -> None:
    out = console()
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = ("ok      ", "green") if finding.ok else ("problem ", "bold red")
        out.print(Text.assemble(mark, (f"{finding.name:<{width}}  ", "bold"), finding.found), soft_wrap=True)
        if finding.advice:
            out.print(Text(" " * (10 + width) + finding.advice, style="dim"), soft_wrap=True)


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    """Run a check; whatever it raises is what it found."""
    try:
        return check()
    except Exception as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        return Finding(name=name, ok=False, found=first_line, advice="install act again: pip install act-compress")


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}, {platform.system()} {platform.machine()}"
    return Finding(name="python", ok=sys.version_info >= (3, 11), found=found)


def _torch() -> Finding:
    import torch

    place = f"CUDA {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else "CPU"
    found = f"{torch.__version__} on {place}, {torch.get_num_threads()} threads"
    return Finding(name="torch", ok=True, found=found)


def _torchvision() -> Finding:
    from ...models.torchvision_compat import import_torchvision

    module = import_torchvision()
    return Finding(name="torchvision", ok=True, found=str(module.__version__))


def _onnxruntime() -> Finding:
    import onnx
    import onnxruntime

    found = f"{onnxruntime.__version__}, onnx {onnx.__version__}"
    return Finding(name="onnxruntime", ok="CPUExecutionProvider" in onnxruntime.get_available_providers(), found=found)


def _tvm() -> Finding:
    """TVM with a mismatched FFI ends in a segmentation fault, so it is tried in a child process."""
    from ...compiler.check import check_tvm

    versions = f"{_version('apache-tvm')}, ffi {_version('apache-tvm-ffi')}"
    problem = check_tvm()  # says what to install
    return Finding(name="tvm", ok=problem is None, found=versions if problem is None else f"{versions}: {problem}")


def _runner() -> Finding:
    from ...device.devices import DeviceError
    from ...device.runtime.build import build_runner

    try:
        return Finding(name="runner", ok=True, found=str(build_runner()))
    except DeviceError as error:  # the message says what to install
        return Finding(name="runner", ok=False, found=str(error))


def _android() -> Finding:
    """Android is optional: without a tool only phones cannot be used."""
    from ...device.errors import DeviceError
    from ...device.runtime.android import HOW_TO_GET_A_TOOL, find_android_tool

    try:
        tool = find_android_tool()
    except DeviceError as error:  # a variable that names no NDK
        return Finding(name="android", ok=False, found=str(error))
    if tool is None:
        return Finding(name="android", ok=True, found="nothing builds the runner for phones", advice=HOW_TO_GET_A_TOOL)
    return Finding(name="android", ok=True, found=f"{tool} builds the runner for phones")


def _devices() -> Finding:
    from ...device.devices import HOW_TO_GET_A_DEVICE, DeviceError
    from ...device.local import list_local_devices

    advice = HOW_TO_GET_A_DEVICE
    try:
        devices = list_local_devices()
    except DeviceError as error:
        return Finding(name="devices", ok=False, found=str(error), advice=advice)
    if not devices:
        return Finding(name="devices", ok=False, found="no OpenCL and no Vulkan device", advice=advice)
    return Finding(name="devices", ok=True, found=", ".join(f"{device.id} {device.name}" for device in devices))


def _vulkan() -> Finding:
    """Vulkan targets are optional: without a GLSL compiler only they are missing."""
    from ...compiler.codegen.spirv import find_compiler, find_validator

    compiler, validator = find_compiler(), find_validator()
    if compiler is None:
        advice = "pip install 'act-compress[vulkan]' gives one"
        return Finding(
            name="vulkan", ok=True, found="no GLSL compiler: Vulkan targets cannot be compiled", advice=advice
        )
    checked = f"checked by {validator}" if validator is not None else "not checked: no spirv-val"
    return Finding(name="vulkan", ok=True, found=f"SPIR-V from {compiler}, {checked}")


def _adb() -> Finding:
    """Phones are optional: without adb only they are missing."""
    from ...device.adb.program import AdbProgramError, find_adb

    try:
        program = find_adb()
    except AdbProgramError as error:  # the message says what to do
        return Finding(name="adb", ok=True, found=f"phones cannot be reached: {error}")
    return Finding(name="adb", ok=True, found=f"{program.release} at {program.path}")


def _disk() -> Finding:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    places = {"here": Path.cwd(), "cache": _existing(cache)}
    free = {name: shutil.disk_usage(place).free for name, place in places.items()}
    ok = min(free.values()) >= _MINIMUM_FREE_BYTES
    found = ", ".join(f"{bytes_text(size)} free {name}" for name, size in free.items())
    advice = (
        ""
        if ok
        else f"a large run needs {bytes_text(_MINIMUM_FREE_BYTES)}; free some space, or choose a place with --out"
    )
    return Finding(name="disk", ok=ok, found=found, advice=advice)


def _bf16() -> Finding:
    from ..hardware import compute_device, supports_bf16

    yes = supports_bf16(compute_device())
    found = "in hardware, training uses it" if yes else "not in hardware: training uses fp32, about 3 times slower"
    return Finding(name="bf16", ok=True, found=found)


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


CHECKS: dict[str, Callable[[], Finding]] = {
    "python": _python,
    "torch": _torch,
    "torchvision": _torchvision,
    "onnxruntime": _onnxruntime,
    "tvm": _tvm,
    "runner": _runner,
    "android": _android,
    "devices": _devices,
    "vulkan": _vulkan,
    "adb": _adb,
    "disk": _disk,
    "bf16": _bf16,
}
