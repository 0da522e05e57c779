"""`act tune`: search for the best kernel of each layer on a device, and keep what is found for later compiles."""

import argparse
import fnmatch
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...device.precision import PRECISIONS
from ..errors import UsageError
from ..output import print_json
from ..progress import Progress
from .arguments import add_json, examples, positive, sizes
from .sources import kind_of, onnx_of
from .tune_result import Job, print_result, values_of

if TYPE_CHECKING:
    from ...compiler.tuning.pairs import PairedTimes
    from ...compiler.tuning.tasks import TuningTask
    from ...compiler.tuning.tuner import TunedLayer
    from ...device.package_format import Package
    from ...device.tuning_records import TuningRecords

NAME = "tune"
HELP = "search for the fastest kernel of each layer on a device; later compiles for its target use them"
SECONDS = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("source", metavar="SOURCE", help="file.onnx, file.actpkg or run folder")
    parser.add_argument(
        "--device", metavar="ID", help="where to measure; see 'act devices' (default: the first local one)"
    )
    parser.add_argument(
        "--target", metavar="T", help="what to tune for (default: what the device is; a package: its own)"
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--budget-seconds",
        type=positive,
        metavar="S",
        help=f"stop after S seconds (default: {SECONDS:.0f}); the layers that take longest get most of them",
    )
    budget.add_argument(
        "--trials", type=positive, metavar="N", help="stop after N candidates of each layer, earlier runs included"
    )
    parser.add_argument(
        "--kernel",
        action="append",
        default=[],
        metavar="NAME",
        help="tune this layer only, or those that a pattern like 'conv*' matches; may be repeated",
    )
    compiled = parser.add_argument_group("an ONNX file is compiled as by act compile")
    compiled.add_argument(
        "--precision", choices=PRECISIONS, help="how weights and activations are stored (default: fp32)"
    )
    compiled.add_argument("--batch", type=positive, metavar="N", help="images a run (default: 1)")
    compiled.add_argument("--input-shape", type=sizes, metavar="C,H,W", help="size where the file leaves it open")
    add_json(parser)
    parser.epilog = (
        examples(
            "act tune model.onnx --device opencl:0",
            "act tune runs/digits-resnet20 --device adb:SERIAL --budget-seconds 1800",
            "act tune model.actpkg --device vulkan:0 --kernel 'conv*' --trials 24",
        )
        + "\n\nEvery result is kept at once: run the same command again to go on, after an interruption too. What a\n"
        "local device chose is never used for a phone's target; what a phone chose serves every phone of its GPU."
    )


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Tune, compare the whole network before and after, and say what is kept and what is next."""
    try:
        _run(args, progress)
    except KeyboardInterrupt as stop:
        stop.resume_command = shlex.join(_command(args))  # type: ignore[attr-defined]
        raise
    return 0


def _run(args: argparse.Namespace, progress: Progress) -> None:
    from ...compiler.tuning.tasks import tasks_of
    from ...compiler.tuning.tuner import check_tuning_target
    from ...device.package_format import read_package
    from ...device.tuning_records import TuningRecords

    with tempfile.TemporaryDirectory(prefix="act-tune-") as folder, TuningRecords() as records:
        job = _job(args, Path(folder), progress)
        check_tuning_target(job.target, job.device.info)
        package = read_package(job.package)
        tasks = _chosen(tasks_of(package), args.kernel)
        layers = sorted(_tune(job, tasks, records, progress), key=_before_us, reverse=True)
        network = _whole(job, records, Path(folder), progress) if any(layer.is_tuned for layer in layers) else None
        if args.json:
            print_json(values_of(job, layers, network, records.path))
        else:
            print_result(job, layers, network, records.path)


def _command(args: argparse.Namespace) -> list[str]:
    """The command line that goes on."""
    shape = ",".join(map(str, args.input_shape)) if args.input_shape else None
    options = {
        "--device": args.device,
        "--target": args.target,
        "--budget-seconds": args.budget_seconds,
        "--trials": args.trials,
        "--precision": args.precision,
        "--batch": args.batch,
        "--input-shape": shape,
    }
    words = [str(word) for name, value in options.items() if value is not None for word in (name, value)]
    return ["act", NAME, args.source, *words, *(word for name in args.kernel for word in ("--kernel", name))]


def _job(args: argparse.Namespace, folder: Path, progress: Progress) -> Job:
    """Open the device and compile the network by the rule, or take the package as it is."""
    from ...compiler.targets import get_target
    from ...device.devices import open_device
    from ...device.package_format import read_package
    from .sources import first_local_device

    if kind_of(args.source) == "package":
        given = {"--precision": args.precision, "--batch": args.batch, "--input-shape": args.input_shape}
        wrong = [name for name, value in given.items() if value is not None]
        if wrong:
            raise UsageError(f"{', '.join(wrong)}: a package is compiled already; give its ONNX file")
        path = Path(args.source)
        package = read_package(path)
        if args.target not in (None, package.target):
            raise UsageError(
                f"{path} is for {package.target}, not for {args.target}: give its ONNX file, or no --target"
            )
        device = open_device(args.device) if args.device else first_local_device(package.backend)
        target = get_target(package.target, precision=package.precision)
        return Job(onnx=_onnx_beside(path, package), package=path, device=device, target=target, args=args)
    onnx = onnx_of(args.source)
    asked = None if args.target is None else get_target(args.target)
    device = open_device(args.device) if args.device else first_local_device(asked.backend if asked else "opencl")
    target = get_target(args.target or device.info.target, precision=args.precision or "fp32")
    job = Job(onnx=onnx, package=folder / "before.actpkg", device=device, target=target, args=args)
    with progress.stage(f"compile for {target.name} by the rule"):
        _compile(job, job.package)
    return job


def _compile(job: Job, output: Path, records: "TuningRecords | None" = None) -> None:
    """Compile the ONNX file: with what is in the records, or by the rule."""
    from ...compiler.compile import compile_onnx
    from ...compiler.kernel_choice import UNTUNED
    from ...compiler.tuning.tuner import tuned_kernels

    assert job.onnx is not None
    fingerprint = job.device.info.fingerprint
    tuned = UNTUNED if records is None else tuned_kernels(records, job.target, fingerprint=fingerprint)
    batch = job.args.batch or 1
    compile_onnx(job.onnx, job.target, output=output, batch=batch, input_shape=job.args.input_shape, tuned=tuned)


def _onnx_beside(path: Path, package: "Package") -> Path | None:
    """The ONNX file beside a package, if it is the same network: the package's known output tells."""
    onnx = path.with_suffix(".onnx")
    if not onnx.is_file():
        return None
    import numpy as np

    from ..delivery import run_onnx

    try:
        found: np.ndarray[Any, Any] = run_onnx(onnx, package.verification_input)
    except Exception:  # onnxruntime has its own types; whatever it is, the file is not this network
        return None
    expected = package.verification_output.reshape(-1)
    return onnx if found.size == expected.size and np.allclose(found.reshape(-1), expected, atol=1e-6) else None


def _chosen(tasks: "Sequence[TuningTask]", patterns: list[str]) -> "list[TuningTask]":
    """The layers that are asked for."""
    from ...models.naming import unknown_name

    names = [name for task in tasks for name in task.names]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UsageError(unknown_name("kernel", pattern, names))
    if not tasks:
        raise UsageError("the network has no convolution and no linear layer: there is nothing to tune")
    return [task for task in tasks if not patterns or any(fnmatch.filter(task.names, pattern) for pattern in patterns)]


def _tune(job: Job, tasks: "list[TuningTask]", records: "TuningRecords", progress: Progress) -> "list[TunedLayer]":
    from ...compiler.tuning.search import LayerSearch
    from ...compiler.tuning.tuner import Budget, tune_layers

    args = job.args
    seconds = None if args.trials else float(args.budget_seconds or SECONDS)
    budget = Budget(seconds=seconds, trials=args.trials)
    total = None if args.trials is None else args.trials * len(tasks)
    what = f"tune {len(tasks)} layers on {job.device.id}"
    with progress.stage(what, total=total, unit="candidates") as stage:

        def on_step(search: LayerSearch, tried: int) -> None:
            best = search.best
            gain = "" if best is None or best.relative == 1 else f", {1 / best.relative:.2f}× the rule's speed"
            stage.advance(tried, f"{search.task.label}{gain}")

        return tune_layers(tasks, job.target, job.device, records, budget, on_step=on_step)


def _whole(job: Job, records: "TuningRecords", folder: Path, progress: Progress) -> "PairedTimes | None":
    """The network by the rule against the network as tuned; None without its ONNX file."""
    from ...compiler.tuning.pairs import compare_packages

    if job.onnx is None:
        return None
    after = folder / "after.actpkg"
    with progress.stage("compile with what was found"):
        _compile(job, after, records)
        if job.package.parent != folder:  # the given package may have been compiled with tuned kernels
            job = Job(
                onnx=job.onnx, package=folder / "before.actpkg", device=job.device, target=job.target, args=job.args
            )
            _compile(job, job.package)
    with progress.stage("measure the whole network by turns") as stage:
        times = compare_packages(job.package, after, job.device)
        stage.say(f"{times.ratio:.2f}×")
    return times


def _before_us(layer: "TunedLayer") -> float:
    return len(layer.task.names) * (layer.rule_us or 0.0)
