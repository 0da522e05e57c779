"""`act bench`: measured latency of a package on a device, after its output was verified there."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...device.precision import PRECISIONS
from ..output import jsonable, milliseconds_text, print_fields, print_json, print_table
from ..progress import Progress
from .arguments import add_json, examples, natural, positive
from .sources import choose_device, kind_of, onnx_of

if TYPE_CHECKING:
    from ...device.harness import LatencyStats

NAME = "bench"
HELP = "measure a package's latency on a device"
_SLOWEST = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("source", metavar="SOURCE", help="file.actpkg, file.onnx or run folder")
    parser.add_argument("--device", metavar="ID", help="see 'act devices' (default: the first local one)")
    parser.add_argument(
        "--target",
        metavar="T",
        help="compile for it first (default: a package as it is, ONNX for what the device is)",
    )
    parser.add_argument("--precision", choices=PRECISIONS, help="compile in it first (default: fp32, or the package's)")
    parser.add_argument("--runs", type=positive, default=100, metavar="N", help="timed runs (default: 100)")
    parser.add_argument("--warmup", type=natural, default=10, metavar="N", help="runs before them (default: 10)")
    add_json(parser)
    parser.epilog = (
        examples(
            "act bench model.actpkg",
            "act bench runs/digits-resnet20 --device opencl:0 --runs 500",
            "act bench model.onnx --device vulkan:0",
        )
        + "\n\nA local device does not predict a phone: its milliseconds compare with its own only."
    )


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Measure, keep the figures in the database (and in the run folder), and print them."""
    from ...device.harness import measure

    with tempfile.TemporaryDirectory(prefix="act-bench-") as folder:
        package = _package(args, Path(folder), progress)
        device = choose_device(args.device, package)
        with progress.stage(f"measure {args.runs} runs"):
            stats = measure(package, device, runs=args.runs, warmup=args.warmup)
        values = {"source": args.source, **jsonable_dict(stats.to_dict())}
        names = _kernel_names(package)
        _keep(package, stats, progress)
    if kind_of(args.source) == "run":
        from ..run_folder import write_atomic

        write_atomic(Path(args.source) / "bench.json", json.dumps(values, indent=2) + "\n")
    if args.json:
        print_json(values)
    else:
        _print(stats, names)
    return 0


def jsonable_dict(values: dict[str, Any]) -> dict[str, Any]:
    """Return plain JSON values of a mapping."""
    plain = jsonable(values)
    assert isinstance(plain, dict)
    return plain


def _package(args: argparse.Namespace, folder: Path, progress: Progress) -> Path:
    """The package to measure: the one given, that of the run, or one compiled now."""
    kind = kind_of(args.source)
    given = Path(args.source) / "model.actpkg" if kind == "run" else Path(args.source)
    asked = args.target or args.precision
    if asked is None and kind != "onnx" and given.is_file() and given.suffix == ".actpkg":
        return given
    from ...compiler.compile import compile_onnx
    from ...compiler.targets import get_target
    from ...device.devices import open_device
    from ..tuned import tuned_for

    target = get_target(args.target or _host_target(args.device), precision=args.precision or "fp32")
    onnx = onnx_of(args.source)
    with progress.stage(f"compile for {target.name}"):
        device = None if args.device is None else open_device(args.device)
        tuned = tuned_for(target, progress.warn, device=device)
        return compile_onnx(onnx, target, output=folder / "model.actpkg", tuned=tuned).path


def _host_target(device_id: str | None) -> str:
    """What an ONNX file is compiled for when no target is given: the kind of device that it is measured on."""
    from ...device.devices import open_device

    return "host-opencl" if device_id is None else open_device(device_id).info.target


def _kernel_names(package: Path) -> list[str]:
    from ...device.package_format import read_package

    content = read_package(package)
    return [step.source_operator or content.kernels[step.kernel].name for step in content.steps]


def _keep(package: Path, stats: "LatencyStats", progress: Progress) -> None:
    """Keep the measurement for later runs; it is printed even where that fails."""
    from ...device.database import DatabaseError, LatencyDatabase

    try:
        with LatencyDatabase() as database:
            database.put_end_to_end(package, stats)
    except DatabaseError as error:
        progress.warn(str(error))


def _print(stats: "LatencyStats", names: list[str]) -> None:
    print_fields(
        [
            ("device", f"{stats.device}, {stats.device_name}"),
            ("verified", f"output correct before timing (error {stats.verified_error:.1e})"),
            ("latency", f"p50 {milliseconds_text(stats.p50)}, p90 {milliseconds_text(stats.p90)}"),
            ("back to back", milliseconds_text(stats.burst_p50)),
            ("measured", f"{len(stats.samples_ms)} runs, batch {stats.batch}, {stats.precision}"),
        ]
    )
    times = list(stats.per_kernel_us or ())
    total = sum(times) or 1.0
    slowest = sorted(zip(times, names, strict=False), reverse=True)[:_SLOWEST]
    if slowest:
        rows = [(name, f"{time:.1f}", f"{100 * time / total:.0f} %") for time, name in slowest]
        title = f"\nslowest of {len(times)} kernels, profiled apart"
        print_table(("kernel", "µs", "share"), rows, title=title, right=("µs", "share"))
