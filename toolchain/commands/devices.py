"""`act devices`: the devices that packages run on here, a check of one, and the program that runs packages."""

import argparse
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from ..errors import ExitCode, UsageError
from ..output import console, print_json, print_table
from ..progress import Progress
from .arguments import add_json, add_path, examples

if TYPE_CHECKING:
    from ...device.adb.phones import PhoneListing
    from ...device.devices import Device
    from ..device_check import DeviceReport

NAME = "devices"
_OUTCOMES = {"pass": "passed", "fail": "failed", "skip": "skipped"}
_STYLES = {"pass": "green", "fail": "bold red", "skip": "yellow"}
HELP = "list or check devices, or build the program that runs packages"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        choices=("list", "check", "build-runner"),
        help="list (default); check: the checklist of a device, new phones first of all; "
        "build-runner: build it and print its path",
    )
    parser.add_argument(
        "--device",
        metavar="ID",
        help="the device to check, as in opencl:0, adb:SERIAL or adb:all (default: every one of this machine)",
    )
    parser.add_argument("--target", metavar="T", help="what check compiles for (default: what the device is)")
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
        "act devices check --device adb:R58M12ABCDE",
        "act devices build-runner --abi arm64-v8a --out build",
    )


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Do what is asked for.

    Raises:
        UsageError: If a flag belongs to another action.
    """
    for flag, value, action in (("--device", args.device, "check"), ("--target", args.target, "check")):
        if value is not None and args.action != action:
            raise UsageError(f"{flag} belongs to 'act devices {action}', not to '{args.action}'")
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
    """Go through the checklist of each device; 3 where something failed."""
    from ..device_check import check_device

    devices = _devices_to_check(args.device)
    reports = []
    for device in devices:
        with progress.stage(f"check {device.id}"):
            reports.append(check_device(device, _write_small_network, target=args.target))
    if args.json:
        print_json([report.to_dict() for report in reports])
    else:
        for report in reports:
            _print_report(report)
    return ExitCode.OK if all(report.passed for report in reports) else ExitCode.DEVICE


def _devices_to_check(device_id: str | None) -> "Sequence[Device]":
    """The device of an id, every phone of ``adb:all``, or every device of this machine.

    Raises:
        DeviceError: If there is none.
    """
    from ...device.devices import HOW_TO_GET_A_DEVICE, NoDeviceError, open_device
    from ...device.local import LocalDevice, list_local_devices

    if device_id is None:
        local = [LocalDevice(info) for info in list_local_devices()]
        if not local:
            raise NoDeviceError(f"no device found: {HOW_TO_GET_A_DEVICE}; a phone is named with --device adb:SERIAL")
        return local
    if device_id.partition("@")[0] == "adb:all":
        from ...device.adb.phones import open_phones

        return open_phones(device_id)
    return [open_device(device_id)]


def _write_small_network(path: Path) -> None:
    from .export import export_checked
    from .sources import open_named

    export_checked(open_named("lenet5"), path, dense=False)


def _print_report(report: "DeviceReport") -> None:
    out = console()
    counts = Counter[str](item.outcome for item in report.items)
    summary = ", ".join(f"{counts[outcome]} {word}" for outcome, word in _OUTCOMES.items() if counts[outcome])
    out.print(Text(f"{report.device}, {report.name}: {summary}", style="bold"))
    width = max(len(item.name) for item in report.items)
    for item in report.items:
        mark = (f"{item.outcome}  ", _STYLES[item.outcome])
        lines = item.found.splitlines() or [""]
        out.print(Text.assemble(mark, (f"{item.name:<{width}}  ", "bold"), lines[0]), soft_wrap=True)
        for line in [*lines[1:], *([f"→ {item.next_step}"] if item.next_step else [])]:
            out.print(Text(" " * (8 + width) + line, style="dim"), soft_wrap=True)


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
    from ...device.errors import RunnerBuildError
    from ...device.runtime.android import build_android, find_android_tool
    from ...device.runtime.build import HEADER_PATH, build_library, build_runner

    if ndk is not None:
        if abi == "host":
            raise UsageError("--ndk builds for Android: add --abi arm64-v8a, or x86_64 for an emulator")
        try:
            find_android_tool(ndk)
        except RunnerBuildError as error:  # a flag that names no NDK is no missing device
            raise UsageError(str(error)) from None
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
