"""`act bench`: measured latency of a package on a device, after its output was verified there."""

import argparse
import json
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...device.precision import PRECISIONS
from ..output import jsonable, milliseconds_text, print_fields, print_json, print_table
from ..progress import Progress
from .arguments import add_json, examples, natural, positive
from .sources import choose_device, kind_of, onnx_of

if TYPE_CHECKING:
    from ...device.devices import Device
    from ...device.harness import LatencyStats
    from ...device.package_format import Package
    from ..cpu_latency import CpuLatency

NAME = "bench"
HELP = "measure a network's latency on a device"
_SLOWEST = 12
_CPU_RUNS = 100
_CPU_SECONDS = 5.0
_PRESETS = """presets (the figure to report is the median, with mlperf the 90th percentile):
  quick     30 runs or 2 s
  standard  at least 100 runs and 2 s, at most 10 s; repeated once, after a pause, where something disturbed it
  mlperf    at least 1,024 runs and 60 s, as MLPerf Mobile asks for; repeated likewise"""
_ADVICE = {
    "noisy": "close what else runs there, and measure again",
    "drift": "let the device rest, and measure again",
    "throttled": "let it cool down, and measure again",
    "unstable": "measure again, with more --warmup",
    "short": "so few say little about rare slow runs",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("source", metavar="SOURCE", help="file.actpkg, file.onnx or run folder")
    parser.add_argument(
        "--device", metavar="ID", help="as in opencl:0 or adb:SERIAL, see 'act devices' (default: the first local one)"
    )
    parser.add_argument(
        "--target",
        metavar="T",
        help="compile for it first (default: a package as it is, ONNX for what the device is)",
    )
    parser.add_argument("--precision", choices=PRECISIONS, help="compile in it first (default: fp32, or the package's)")
    parser.add_argument(
        "--preset", choices=("quick", "standard", "mlperf"), default="standard", help="how thorough (default: standard)"
    )
    parser.add_argument(
        "--runs", type=positive, metavar="N", help="timed runs, in place of the preset's runs and seconds"
    )
    parser.add_argument("--warmup", type=natural, metavar="N", help="runs before them, in place of the preset's")
    add_json(parser)
    parser.epilog = (
        examples(
            "act bench model.actpkg",
            "act bench runs/digits-resnet20 --device opencl:0 --preset quick",
            "act bench model.onnx --device adb:R58M12ABCDE --preset mlperf",
        )
        + f"\n\n{_PRESETS}"
        + "\n\nA local device does not predict a phone: its milliseconds compare with its own only."
    )


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Measure, keep the figures in the database (and in the run folder), and print them."""
    from ...device.devices import open_device
    from ...device.package_format import read_package

    opened = None if args.device is None else open_device(args.device)
    with tempfile.TemporaryDirectory(prefix="act-bench-") as folder:
        package = _package(args, opened, Path(folder), progress)
        device = opened or choose_device(None, package)
        stats = _measure(args, package, device, progress)
        content = read_package(package)
        _keep(package, stats, progress)
    cpu = _cpu_line(args.source, content, device, progress)
    names = [step.source_operator or content.kernels[step.kernel].name for step in content.steps]
    values = jsonable_dict(
        {
            "source": args.source,
            "preset": args.preset,
            **stats.to_dict(),
            "headline_ms": stats.headline_ms,
            "kernels": [{"name": name, "us": time} for name, time in zip(names, stats.per_kernel_us, strict=False)],
            "onnxruntime_cpu": None if cpu is None else cpu.to_dict(),
        }
    )
    if kind_of(args.source) == "run":
        from ..run_folder import write_atomic

        write_atomic(Path(args.source) / "bench.json", json.dumps(values, indent=2) + "\n")
    if args.json:
        print_json(values)
    else:
        _print(stats, names, cpu)
    return 0


def _measure(args: argparse.Namespace, package: Path, device: "Device", progress: Progress) -> "LatencyStats":
    from ...device.harness import PRESETS, measure
    from ...device.package_format import read_package
    from ...device.reference import reference_name

    preset = PRESETS[args.preset]
    if args.runs is not None:
        preset = replace(preset, runs=args.runs, min_seconds=0.0)
    if args.warmup is not None:
        preset = replace(preset, warmup=args.warmup)
    backend = read_package(package).backend

    def waited(seconds: float) -> None:
        progress.warn(f"something disturbed the measurement; it is repeated after {seconds:.0f} s")
        time.sleep(seconds)

    with progress.stage(f"measure {preset.runs} runs on {device.id}"):
        usual = _usual_reference_ms(reference_name(backend), device.info.fingerprint)
        return measure(package, device, **asdict(preset), usual_reference_ms=usual, sleep=waited)


def _usual_reference_ms(reference: str, fingerprint: str) -> float | None:
    """What the device's reference usually takes; None where there is no database to know it."""
    from ...device.database import DatabaseError, LatencyDatabase, default_path

    if not default_path().is_file():  # it is made when there is something to keep
        return None
    try:
        with LatencyDatabase() as database:
            return database.usual_reference_ms(reference, fingerprint)
    except DatabaseError:  # said when the measurement is to be kept
        return None


def _cpu_line(source: str, package: "Package", device: "Device", progress: Progress) -> "CpuLatency | None":
    """The processor's own latency with onnxruntime, beside a local device's, where there is an ONNX file."""
    kind = kind_of(source)
    onnx = Path(source) / "model.onnx" if kind == "run" else Path(source)
    if device.id.startswith("adb:") or onnx.suffix != ".onnx" or not onnx.is_file():
        return None
    from ..cpu_latency import cpu_latency

    with progress.stage("measure onnxruntime on the processor"):
        try:
            return cpu_latency(onnx, package, runs=_CPU_RUNS, max_seconds=_CPU_SECONDS)
        except Exception as error:  # onnxruntime has errors of its own, and this line is not what was asked for
            progress.warn(f"onnxruntime is not measured: {str(error).splitlines()[0]}")
            return None


def jsonable_dict(values: dict[str, Any]) -> dict[str, Any]:
    """Return plain JSON values of a mapping."""
    plain = jsonable(values)
    assert isinstance(plain, dict)
    return plain


def _package(args: argparse.Namespace, device: "Device | None", folder: Path, progress: Progress) -> Path:
    """The package to measure: the one given, that of the run, or one compiled now."""
    kind = kind_of(args.source)
    given = Path(args.source) / "model.actpkg" if kind == "run" else Path(args.source)
    asked = args.target or args.precision
    if asked is None and kind != "onnx" and given.is_file() and given.suffix == ".actpkg":
        return given
    from ...compiler.compile import compile_onnx
    from ...compiler.targets import get_target
    from ..tuned import tuned_for

    onnx = onnx_of(args.source)
    target = get_target(args.target or _target_of(device), precision=args.precision or "fp32")
    with progress.stage(f"compile for {target.name}"):
        fingerprint = None if device is None else device.info.fingerprint
        tuned = tuned_for(target, progress.warn, fingerprint=fingerprint)
        return compile_onnx(onnx, target, output=folder / "model.actpkg", tuned=tuned).path


def _target_of(device: "Device | None") -> str:
    """What an ONNX file is compiled for when no target is given: the kind of device that it is measured on."""
    from ...device.local import list_local_devices

    if device is not None:
        return device.info.target
    return next((info.target for info in list_local_devices()), "host-opencl")


def _keep(package: Path, stats: "LatencyStats", progress: Progress) -> None:
    """Keep the measurement for later runs; it is printed even where that fails."""
    from ...device.database import DatabaseError, LatencyDatabase

    try:
        with LatencyDatabase() as database:
            database.put_end_to_end(package, stats)
    except DatabaseError as error:
        progress.warn(str(error))


def _print(stats: "LatencyStats", names: list[str], cpu: "CpuLatency | None") -> None:
    first, second = ("p50", "p90") if stats.headline == "p50" else ("p90", "p50")
    latency = (
        f"{first} {milliseconds_text(getattr(stats, first))}, {second} {milliseconds_text(getattr(stats, second))}"
    )
    fields = [
        ("device", f"{stats.device}, {stats.device_name}"),
        ("verified", f"output correct before timing (error {stats.verified_error:.1e})"),
        ("latency", f"{latency}, at best {milliseconds_text(stats.minimum)}"),
        ("back to back", milliseconds_text(stats.burst_p50)),
        ("measured", f"{len(stats.samples_ms)} runs, batch {stats.batch}, {stats.precision}"),
    ]
    if stats.drift is not None:
        steady = f"the device's own speed changed by {100 * (1 / stats.drift - 1):+.1f} % meanwhile"
        fields.append(("steady", steady))
    if cpu is not None:
        times = f"p50 {milliseconds_text(cpu.p50)}, p90 {milliseconds_text(cpu.p90)}"
        fields.append(("CPU", f"{times}: onnxruntime {cpu.version} on this computer, {cpu.threads} threads"))
    print_fields(fields)
    for kind, reason in stats.flags.items():
        print_fields([(f"! {kind}", f"{reason}; {_ADVICE[kind]}")])
    _print_kernels(stats, names)


def _print_kernels(stats: "LatencyStats", names: list[str]) -> None:
    times = list(stats.per_kernel_us or ())
    total = sum(times) or 1.0
    slowest = sorted(zip(times, names, strict=False), reverse=True)[:_SLOWEST]
    if slowest:
        rows = [(name, f"{time:.1f}", f"{100 * time / total:.0f} %") for time, name in slowest]
        title = f"\nslowest of {len(times)} kernels, profiled apart"
        print_table(("kernel", "µs", "share"), rows, title=title, right=("µs", "share"))
