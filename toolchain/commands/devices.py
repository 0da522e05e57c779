"""`act devices`: the devices that packages run on here, a check of one, and the program that runs packages."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..output import milliseconds_text, print_fields, print_json, print_table
from ..progress import Progress
from .arguments import add_json, examples

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
    parser.add_argument("--device", metavar="ID", help="the device to check, as in opencl:0 (default: every device)")
    add_json(parser)
    parser.epilog = examples("act devices", "act devices check --device opencl:0", "act devices build-runner")


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
    if args.json:
        print_json(
            [{"id": d.id, "name": d.name, "platform": d.platform, "driver": d.driver, "fingerprint": d.fingerprint}
             for d in devices]
        )  # fmt: skip
        return 0
    if not devices:
        progress.warn(f"no device found: {HOW_TO_GET_A_DEVICE}")
        return 0
    print_table(("device", "name", "platform", "driver"), [(d.id, d.name, d.platform, d.driver) for d in devices])
    return 0


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
        for backend in dict.fromkeys(device.info.backend for device in devices):
            with progress.stage(f"compile a small network for host-{backend}"):
                packages[backend] = _small_package(Path(folder), backend)
        for device in devices:
            with progress.stage(f"run it on {device.id}"):
                results.append(measure(packages[device.info.backend], device, runs=20, warmup=5))
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


def _small_package(folder: Path, backend: str) -> Path:
    from ...compiler.compile import compile_onnx
    from ...compiler.targets import get_target
    from .export import export_checked
    from .sources import open_named

    model = folder / "model.onnx"
    export_checked(open_named("lenet5"), model, dense=False)
    target = get_target(f"host-{backend}")
    package: Path = compile_onnx(model, target, output=folder / f"{target.name}.actpkg").path
    return package


def _build_runner(args: argparse.Namespace, progress: Progress) -> int:
    from ...device.runtime.build import build_runner

    with progress.stage("build act-runner"):
        path = build_runner()
    if args.json:
        print_json({"runner": str(path)})
    else:
        print(path)
    return 0
