"""What compiling costs: seconds, peak memory, and how close each arena comes to what is alive in it.

    python benchmarks/compile_cost.py [NETWORK ...] --out benchmarks/results/compile_cost.json

Each network of torchvision, with random weights at its own image size, is written as ONNX in one process and compiled
in another; peak resident memory counts Python, TVM and onnxruntime, too (and torch, which TVM imports where it is
installed). The arena ratio is the arena's size over the largest sum of tensors alive in one step, weights apart. On a
busy machine look at the CPU seconds. `--profile` prints where one network's time goes.
"""

import argparse
import cProfile
import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NETWORKS = (
    *("resnet18", "resnet50", "vgg16", "mobilenet_v2", "mobilenet_v3_large", "densenet121", "googlenet"),
    *("inception_v3", "efficientnet_b0", "shufflenet_v2_x1_0", "squeezenet1_1", "regnet_y_400mf"),
)
LIMITS = {"seconds": 60.0, "peak_memory_mb": 2000.0, "arena_ratio": 1.3}


def main() -> None:
    """Compile every network in a process of its own, print a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"default: {' '.join(NETWORKS)}")
    parser.add_argument("--target", nargs="+", default=["adreno640", "host-opencl"], metavar="T")
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=("fp32", "fp16"))
    parser.add_argument("--threads", type=int, default=2, help="processor cores a compilation may use")
    parser.add_argument("--onnx", type=Path, metavar="DIR", help="folder to keep the ONNX files in")
    parser.add_argument("--profile", action="store_true", help="profile the first network instead of measuring all")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=4, metavar=("STEP", "FILE", "TARGET", "PRECISION"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        step, *values = args.one
        print(json.dumps(export(*values[:2]) if step == "export" else compiled(*values)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.onnx or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        names = args.networks or NETWORKS
        if args.profile:
            profile(onnx_of(names[0], folder), args.target[0], args.precision[0])
            return
        rows = measure(names, args, folder)
    if args.out is not None:
        from act.toolchain.environment import describe_environment

        args.out.parent.mkdir(parents=True, exist_ok=True)
        result = {"threads": args.threads, "limits": LIMITS, "rows": rows, **describe_environment()}
        args.out.write_text(json.dumps(result, indent=2) + "\n")


def measure(names: list[str], args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """One row for each network, target and precision."""
    rows = []
    headings = ("seconds", "CPU s", "memory MB", "arena MB", "ratio", "steps")
    print(f"{'network':20} {'target':12} {'':5}", *(f"{heading:>9}" for heading in headings))
    for name in names:
        file = onnx_of(name, folder)
        for target in args.target:
            for precision in args.precision:
                row = {"network": name, **in_a_process("compile", str(file), target, precision, threads=args.threads)}
                rows.append(row)
                print(line(row), flush=True)
    return rows


def onnx_of(name: str, folder: Path) -> Path:
    """The network's ONNX file, written unless it is there."""
    file = folder / f"{name}.onnx"
    if not file.exists():
        row = in_a_process("export", str(file), name, "")
        if "problem" in row:
            raise SystemExit(f"{name} cannot be exported: {row['problem']}")
    return file


def in_a_process(*values: str, threads: int | None = None) -> dict[str, Any]:
    """One step of this script in a new process, on at most ``threads`` cores."""
    command = [sys.executable, __file__, "--one", *values]
    cores = sorted(os.sched_getaffinity(0))[:threads] if hasattr(os, "sched_getaffinity") else None
    pin = None if cores is None else lambda: os.sched_setaffinity(0, cores)
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=pin)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {"target": values[2], "precision": values[3], "problem": last}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def export(path: str, name: str) -> dict[str, Any]:
    """Write one network of torchvision with random weights."""
    import torch
    from act.models.torchvision_compat import import_torchvision
    from act.toolchain.capture import capture
    from act.toolchain.export import export_onnx

    torch.manual_seed(0)
    arguments = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = import_torchvision().models.get_model(name, weights=None, **arguments).eval()
    side = 299 if name == "inception_v3" else 224
    export_onnx(capture(model, (3, side, side)), Path(path), preprocessing=None)
    return {"network": name}


def compiled(path: str, target: str, precision: str) -> dict[str, Any]:
    """Compile one file and report what it took; imports are part of it."""
    began = time.perf_counter()
    from act.compiler.compile import compile_onnx
    from act.compiler.targets import get_target

    with tempfile.TemporaryDirectory() as folder:
        package = compile_onnx(
            Path(path), get_target(target, precision=precision), output=Path(folder) / "model.actpkg"
        )
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "target": target,
        "precision": precision,
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_memory_mb": round(usage.ru_maxrss / 1e3, 1),
        "arena_bytes": package.arena_bytes,
        "peak_live_bytes": package.peak_live_bytes,
        "arena_ratio": round(package.arena_bytes / package.peak_live_bytes, 3),
        "weight_bytes": package.weight_bytes,
        "steps": len(package.steps),
        "modelled_latency_ms": round(package.modelled_latency_ms, 3),
    }


def profile(file: Path, target: str, precision: str) -> None:
    """Print the functions that take most time, with what they call and by themselves."""
    profiler = cProfile.Profile()
    row = profiler.runcall(compiled, str(file), target, precision)
    statistics = pstats.Stats(profiler)
    for order in ("cumulative", "tottime"):
        statistics.sort_stats(order).print_stats(40)
    print(line({"network": file.stem, **row}))


def line(row: dict[str, Any]) -> str:
    """One row of the table; values beyond their limit are marked."""
    begin = f"{row['network']:20} {row['target']:12} {row['precision']:5}"
    if "problem" in row:
        return f"{begin} {row['problem']}"
    marks = {name: "!" if row[name] > limit else " " for name, limit in LIMITS.items()}
    cells = (
        f"{row['seconds']:8.1f}{marks['seconds']}",
        f"{row['cpu_seconds']:8.1f} ",
        f"{row['peak_memory_mb']:8.0f}{marks['peak_memory_mb']}",
        f"{row['arena_bytes'] / 1e6:8.2f} ",
        f"{row['arena_ratio']:8.2f}{marks['arena_ratio']}",
        f"{row['steps']:8d}",
    )
    return " ".join((begin, *cells))


if __name__ == "__main__":
    main()
