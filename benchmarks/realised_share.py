"""How much of a cut in MACs the compiler turns into speed: dense and compact packages on one device, side by side.

    python benchmarks/realised_share.py --device opencl:0 --out benchmarks/results/realised_share_opencl.json
    python benchmarks/realised_share.py vgg16-cifar resnet18-cifar --rates 4 --device vulkan:0

The plans are kept in `plans.json`: one share of filters, and for combined plans one of columns, for all layers alike.
Weights are random, which time does not depend on; every package is verified before it is timed. Dense and compact runs
alternate, and the realised share is the median of their speed ratios over the ratio of MACs. What onnxruntime takes on
the processor for the same two ONNX files stands beside them, and the share of the kernels alone, without what lies
between them. Rows of the same device that the results hold already are kept, those of this run take their place, so
that the table may come from several sittings. `--make-plans` writes the plans that are missing.
"""

import argparse
import json
import statistics
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import torch
from act.compiler.compile import compile_onnx
from act.compiler.targets import get_target
from act.device.devices import Device, TimingOptions, open_device
from act.device.package_format import read_package
from act.models.registry import create_model, default_arguments
from act.toolchain.capture import CapturedNetwork, capture
from act.toolchain.compaction import compact
from act.toolchain.cost import count_macs
from act.toolchain.coupling import find_coupling
from act.toolchain.cpu_latency import cpu_latency
from act.toolchain.environment import describe_environment, processor_name
from act.toolchain.export import export_onnx
from act.toolchain.folding import plain_weights
from act.toolchain.granularity import granularity_from_name
from act.toolchain.search.action import Action
from act.toolchain.search.budget import Budget
from act.toolchain.search.plan_space import PlanSpace

PLANS = Path(__file__).parent / "plans.json"
CIFAR, IMAGENET = ((3, 32, 32), 10), ((3, 224, 224), 1000)
NETWORKS = {
    f"{name}-{size}": (name, *shape)
    for size, shape in (("cifar", CIFAR), ("imagenet", IMAGENET))
    for name in ("vgg16", "resnet18", "resnet50", "mobilenet_v2")
}
KINDS = ("filter", "combined")
CPU_SECONDS = 5.0
# Speed ratio over FLOPs ratio on an Adreno 640, from the rows of AutoCompress (arXiv:1907.03141) next to the rate.
PAPER = {("filter", 4): 0.98, ("filter", 14): 0.59, ("combined", 8): 0.60, ("combined", 14): 0.64}
Rows = dict[tuple[str, str, int], dict[str, Any]]
ASKED = {("filter", 4): 0.95, ("filter", 8): 0.8, ("filter", 14): 0.8, **{("combined", x): 0.8 for x in (4, 8, 14)}}


def main() -> None:
    """Measure every network and plan asked for; the table is written after every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"default all: {', '.join(NETWORKS)}")
    parser.add_argument("--device", default="opencl:0")
    parser.add_argument("--rates", type=int, nargs="+", default=[4, 8, 14])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10, help="inferences a repeat")
    parser.add_argument("--make-plans", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if unknown := set(args.networks) - set(NETWORKS):
        parser.error(f"unknown networks {', '.join(sorted(unknown))}; known: {', '.join(NETWORKS)}")
    if args.make_plans:
        make_plans(args.networks or list(NETWORKS), args.rates)
        return
    plans = json.loads(PLANS.read_text())
    device = open_device(args.device)
    rows = rows_of(args.out, device)
    with tempfile.TemporaryDirectory() as folder:
        for name in args.networks or NETWORKS:
            dense = network_of(name)
            space = space_of(dense, "combined")
            package, dense_cpu_ms = packaged(dense, Path(folder) / f"{name}.actpkg", args)
            for kind in args.kinds:
                for rate in args.rates:
                    action = action_of(space, plans[name][f"{kind} {rate}x"])
                    small = compact(dense, find_coupling(dense), space.plan(action))
                    other, cpu_ms = packaged(small, Path(folder) / f"{name}-{kind}-{rate}.actpkg", args)
                    row = {"network": name, "kind": kind, "rate": rate, "macs_x": count_macs(dense) / count_macs(small)}
                    row |= {"asked": ASKED[kind, rate], "paper": PAPER.get((kind, rate))}
                    row |= {"onnxruntime_dense_ms": dense_cpu_ms, "onnxruntime_compact_ms": cpu_ms}
                    row |= compared(device, package, other, row["macs_x"], args)
                    print(line(row), flush=True)
                    rows[name, kind, rate] = row
                    write(args.out, device, rows)


def network_of(name: str) -> CapturedNetwork:
    """The dense network, with seeded random weights."""
    model, shape, classes = NETWORKS[name]
    torch.manual_seed(0)
    arguments = default_arguments(model, num_classes=classes, image_shape=shape)
    return capture(create_model(model, **arguments).eval(), shape)


def space_of(network: CapturedNetwork, kind: str) -> PlanSpace:
    """What may be pruned; by magnitude."""
    return PlanSpace(
        network,
        find_coupling(network),
        plain_weights(network),
        granularity=granularity_from_name(kind),
        latency_of=None,
    )


def action_of(space: PlanSpace, plan: dict[str, float]) -> Action:
    """One share of filters and one of columns for all layers."""
    return Action(
        filter_ratio=dict.fromkeys(space.actions.group_share, plan["filters"]),
        column_ratio=dict.fromkeys(space.actions.layer_share, plan["columns"]),
    )


def make_plans(names: list[str], rates: list[int]) -> None:
    """Add the plans that are missing: shares that just meet the rate of MACs."""
    plans = json.loads(PLANS.read_text()) if PLANS.exists() else {}
    for name in names:
        network = network_of(name)
        for kind in KINDS:
            space = space_of(network, kind)
            for rate in rates:
                own = plans.setdefault(name, {})
                if f"{kind} {rate}x" in own:
                    continue
                budget = Budget(limits={"macs": count_macs(network) / rate})
                found = budget.project(space.actions.uniform(), space.priced).action
                filters = next(iter(found.filter_ratio.values()), 0.0)
                columns = next(iter(found.column_ratio.values()), 0.0)
                own[f"{kind} {rate}x"] = {"filters": round(filters, 4), "columns": round(columns, 4)}
                PLANS.write_text(json.dumps(plans, indent=1) + "\n")


def packaged(network: CapturedNetwork, path: Path, args: argparse.Namespace) -> tuple[Path, float]:
    """The network's package for the device's kind, and milliseconds of its ONNX file in onnxruntime."""
    onnx = path.with_suffix(".onnx")
    export_onnx(network, onnx, preprocessing=None)
    compile_onnx(onnx, get_target(f"host-{args.device.partition(':')[0]}"), output=path)
    latency = cpu_latency(onnx, read_package(path), runs=args.repeats * args.runs, max_seconds=CPU_SECONDS)
    onnx.unlink()
    return path, latency.p50


def compared(device: Device, dense: Path, small: Path, macs_x: float, args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of both, by turns, and what they come to."""
    options = TimingOptions(runs=args.runs, warmup=3, warmup_ms=50.0, bursts=0, profile_runs=5)
    pairs, kernels = [], []
    for _ in range(args.repeats):
        times = [device.time(package, options) for package in (dense, small)]
        pairs.append([statistics.median(time.single_ms) for time in times])
        kernels.append([sum(time.step_us) for time in times])
    speed = statistics.median(before / after for before, after in pairs)
    return {
        "dense_ms": statistics.median(before for before, _ in pairs),
        "compact_ms": statistics.median(after for _, after in pairs),
        "speed_x": speed,
        "share": speed / macs_x,
        "kernels_share": statistics.median(before / after for before, after in kernels) / macs_x,
        "pairs_ms": pairs,
    }


def described(device: Device) -> dict[str, Any]:
    """What a result says of its device: not where its libraries lie."""
    return {name: getattr(device.info, name) for name in ("id", "name", "platform", "driver", "version", "fingerprint")}


def line(row: dict[str, Any]) -> str:
    """A row for people."""
    paper = f", paper {row['paper']:.2f}" if row["paper"] else ""
    times = f"{row['dense_ms']:8.2f} -> {row['compact_ms']:7.2f} ms"
    ratios = f"{row['macs_x']:5.2f}x MACs {row['speed_x']:5.2f}x faster"
    share = f"share {row['share']:.2f} (asked {row['asked']}{paper}), of kernels alone {row['kernels_share']:.2f}"
    cpu = f"onnxruntime {row['onnxruntime_dense_ms']:.2f} -> {row['onnxruntime_compact_ms']:.2f} ms"
    return f"{row['network']:22s} {row['kind']:9s}{times}  {ratios}  {share}; {cpu}"


def rows_of(out: Path | None, device: Device) -> Rows:
    """What the results hold of this device, on this kind of machine."""
    if out is None or not out.exists():
        return {}
    found = json.loads(out.read_text())
    if found["device"] != described(device) or found["environment"]["processor"] != processor_name():
        return {}
    return {(row["network"], row["kind"], row["rate"]): row for row in found["rows"]}


def write(out: Path | None, device: Device, rows: Rows) -> None:
    """The table so far, networks and plans in order."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        order = [key for key in product(NETWORKS, KINDS, sorted({rate for _, _, rate in rows})) if key in rows]
        results = {"device": described(device), "rows": [rows[key] for key in order], **describe_environment()}
        out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
