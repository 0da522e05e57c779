"""`act devices`: the devices that packages run on here, a check of one, and the program that runs packages."""

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..output import milliseconds_text, print_fields, print_json, print_table
from ..progress import Progress
from .arguments import add_json, add_path, examples

if TYPE_CHECKING:
    from ...device.adb.phones import PhoneListing

NAME = "devices"
HELP = "list or check devices, or build the program that runs packages"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        choices=("list", "check", "build-runner"),
        help="list (default); check: compile and run a small network; build-runner: build it and print its path",
    )
    parser.add_argument(
        "--device",
        metavar="ID",
        help="the device to check, as in opencl:0 or adb:SERIAL (default: every one of this machine)",
    )
    parser.add_argument(
        "--adb-server", metavar="HOST:PORT", help="list the phones of this adb server (default: adb's own)"
    )
    group = parser.add_argument_group("build-runner")
    group.add_argument(
        "--abi", choices=("host", "arm64-v8a", "x86_64"), default="host", help="this machine (default), or an Android"
    )
    add_path(
        group,
        "--ndk",
        folder=True,
        help="Android's NDK (default: $ANDROID_NDK_HOME, $ANDROID_NDK_ROOT, else pip's ziglang)",
    )
    add_path(group, "--out", folder=True, help="copy the runner, the library for apps and its header to DIR/ABI")
    add_json(parser)
    parser.epilog = examples(
        "act devices",
        "act devices check --device opencl:0",
        "act devices build-runner --abi arm64-v8a --out build",
    )


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Do what is asked for."""
    actions: dict[str, Callable[[argparse.Namespace, Progress], int]] = {
        "list": _list,
        "check": _check,
        "build-runner": _build_runner,
    }
    return actions[args.action](args, progress)


def _list(args: argparse.Namespace, progress: Progress) -> int:
    from ...device.devices import HOW_TO_GET_A_DEVICE
    from ...device.local import list_local_devices

    devices = list_local_devices()
    phones = _phones(args.adb_server, progress)
    if args.json:
        print_json(
            [{"id": d.id, "name": d.name, "platform": d.platform, "driver": d.driver, "fingerprint": d.fingerprint}
             for d in devices] + [phone.to_dict() for phone in phones]
        )  # fmt: skip
        return 0
    if not devices and not phones:
        progress.warn(f"no device found: {HOW_TO_GET_A_DEVICE}")
    if devices:
        print_table(("device", "name", "platform", "driver"), [(d.id, d.name, d.platform, d.driver) for d in devices])
    if phones:
        print_table(("phone", "model", "SoC", "GPU", "Android", "state"), [phone.row() for phone in phones])
    return 0


def _phones(server: str | None, progress: Progress) -> "list[PhoneListing]":
    """The attached phones; without adb there are none, which is said."""
    from ...device.adb.phones import list_phones
    from ...device.adb.program import AdbServer
    from ...device.devices import DeviceError

    try:
        chosen = None if server is None else AdbServer.parse(server)
    except DeviceError as error:  # a flag that cannot be read is no machine without phones
        raise UsageError(f"--adb-server: {error}") from None
    try:
        return list_phones(chosen)
    except DeviceError as error:
        progress.warn(f"phones are not listed: {error}")
        return []


def _check(args: argparse.Namespace, progress: Progress) -> int:
    """Compile LeNet-5, run it on the device, compare with onnxruntime, time it."""
    from ...device.devices import HOW_TO_GET_A_DEVICE, open_device
    from ...device.harness import measure
    from ...device.local import list_local_devices

    ids = [args.device] if args.device else [device.id for device in list_local_devices()]
    devices = [open_device(name) for name in ids]
    if not devices:
        progress.warn(f"no device found: {HOW_TO_GET_A_DEVICE}")
        return 3
    results = []
    with tempfile.TemporaryDirectory(prefix="act-check-") as folder:
        packages = {}
        for target in dict.fromkeys(device.info.target for device in devices):
            with progress.stage(f"compile a small network for {target}"):
                packages[target] = _small_package(Path(folder), target)
        for device in devices:
            with progress.stage(f"run it on {device.id}"):
                results.append(measure(packages[device.info.target], device, runs=20, warmup=5))
    if args.json:
        print_json([stats.to_dict() for stats in results])
        return 0
    for stats in results:
        print_fields(
            [
                ("output", f"correct (error {stats.verified_error:.1e})"),
                ("LeNet-5", f"p50 {milliseconds_text(stats.p50)}, p90 {milliseconds_text(stats.p90)}, batch 1, fp32"),
            ],
            title=f"{stats.device}: ok",
        )
    return 0


def _small_package(folder: Path, target_name: str) -> Path:
    from ...compiler.compile import compile_onnx
    from ...compiler.targets import get_target
    from .export import export_checked
    from .sources import open_named

    model = folder / "model.onnx"
    export_checked(open_named("lenet5"), model, dense=False)
    target = get_target(target_name)
    package: Path = compile_onnx(model, target, output=folder / f"{target.name}.actpkg").path
    return package


def _build_runner(args: argparse.Namespace, progress: Progress) -> int:
    with progress.stage(f"build act-runner for {args.abi}"):
        runner, others = _built(args.abi, args.ndk, with_library=args.out is not None)
    if args.out is not None:
        runner, *others = [_copied(path, args.out / args.abi) for path in (runner, *others)]
    if args.json:
        print_json({"abi": args.abi, "runner": str(runner), "others": [str(path) for path in others]})
    else:
        print(runner)
    return 0


def _built(abi: str, ndk: Path | None, *, with_library: bool) -> tuple[Path, list[Path]]:
    """The runner, and the library with its header."""
    from ...device.runtime.android import build_android
    from ...device.runtime.build import HEADER_PATH, build_library, build_runner

    if abi == "host":
        return build_runner(), [build_library(), HEADER_PATH] if with_library else []
    build = build_android(abi, ndk=ndk)
    return build.runner, [build.library, build.header]


def _copied(path: Path, folder: Path) -> Path:
    """A copy under a temporary name that is then renamed: another program may run the old one."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{path.name}.part"
    shutil.copy(path, part)
    return part.replace(folder / path.name)
