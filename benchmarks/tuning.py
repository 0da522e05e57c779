"""Which search finds the better kernels in the same time: ours, random, TVM's MetaSchedule; beside the rule.

    python benchmarks/tuning.py --device opencl:0 --seconds 60 --out benchmarks/results/tuning_opencl.json

Layers of ResNet-18 and MobileNetV2 at 224 pixels, and one with 30 % of its columns, which may be packed or zero-filled.
Each search has the same space, the same seconds, the same groups of candidates by turns, the same rule for a winner,
and begins with nothing known. Methods take their turns layer by layer. At the end, the winners of all methods are
timed by turns in one package: the ratios of that are the result.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from act.compiler.kernel_choice import KernelChoice
from act.compiler.layer_shape import LayerShape
from act.compiler.targets import Target, get_target
from act.compiler.tuning.bench import LayerBench
from act.compiler.tuning.search import LayerSearch, best_first, random_order
from act.compiler.tuning.tasks import TuningTask
from act.device.devices import Device, open_device
from act.device.tuning_records import TuningRecords
from act.toolchain.environment import describe_environment
from metaschedule import MetaScheduleSearch
from realised_share import described

OURS = {"act": best_first, "random": random_order}
METHODS = (*OURS, "metaschedule")


def conv(c_in: int, c_out: int, size: int, *, kernel: int = 3, stride: int = 1, **others: Any) -> LayerShape:
    """A square convolution; `size` is the input's."""
    groups, half = others.get("groups", 1), kernel // 2
    output = (size + 2 * half - kernel) // stride + 1
    columns = round(others.get("kept", 1.0) * (c_in // groups) * kernel * kernel)
    return LayerShape(
        name="",
        kind="depthwise" if groups == c_in else "conv",
        c_in=c_in,
        c_out=c_out,
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=(half, half),
        dilation=(1, 1),
        groups=groups,
        input_hw=(size, size),
        output_hw=(output, output),
        columns=columns,
    )


def linear(c_in: int, c_out: int) -> LayerShape:
    """A linear layer."""
    one = (1, 1)
    return LayerShape(
        name="", kind="linear", c_in=c_in, c_out=c_out, kernel=one, stride=one, padding=(0, 0), dilation=one, groups=1,
        input_hw=one, output_hw=one, columns=c_in,
    )  # fmt: skip


LAYERS = {
    "3×3, 64 → 64, 56²": conv(64, 64, 56),
    "3×3, 128 → 128, 28²": conv(128, 128, 28),
    "3×3, 512 → 512, 7²": conv(512, 512, 7),
    "3×3, 128 → 128, 28², 30 % of columns": conv(128, 128, 28, kept=0.3),
    "1×1, 96 → 24, 56²": conv(96, 24, 56, kernel=1),
    "1×1, 384 → 96, 14²": conv(384, 96, 14, kernel=1),
    "depthwise 3×3, 144, 56²": conv(144, 144, 56, groups=144),
    "depthwise 3×3, 576, 14² to 7²": conv(576, 576, 14, stride=2, groups=576),
    "linear, 512 → 1000": linear(512, 1000),
}


def main() -> None:
    """Tune every layer with every method, compare, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = "; ".join(LAYERS).replace("%", "%%")
    parser.add_argument("layers", nargs="*", metavar="LAYER", help=f"default all: {names}")
    parser.add_argument("--device", default="opencl:0")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each layer and method")
    parser.add_argument("--turns", type=int, default=5, help="calls of the last comparison")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seed", type=int, default=0, help="of MetaSchedule")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if unknown := set(args.layers) - set(LAYERS):
        parser.error(f"unknown layers {'; '.join(sorted(unknown))}; known: {'; '.join(LAYERS)}")
    device = open_device(args.device)
    target = get_target(device.info.target)
    rows: list[dict[str, Any]] = []
    for name in args.layers or LAYERS:
        rows.append(tuned(name, device, target, args))
        print(line(rows[-1]), flush=True)
        if args.out is not None:
            found = {"device": described(device), "seconds": args.seconds, "rows": rows, **describe_environment()}
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(found, indent=2) + "\n")


def tuned(name: str, device: Device, target: Target, args: argparse.Namespace) -> dict[str, Any]:
    """One layer by every method, each with records of its own, and their winners side by side."""
    task = TuningTask(shape=LAYERS[name], batch=1, names=(name,), modelled_us=1.0)
    found: dict[str, KernelChoice] = {}
    counts: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for method in args.methods:
            place = Path(folder) / method
            place.mkdir()
            with TuningRecords(place / "records.sqlite") as records:
                proposals = OURS.get(method, best_first)
                search = LayerSearch(task, target, device, records, place, proposals=proposals)
                searched(search, method, args)
                found[method] = search.best_choice
                bad = sum(trial.status == "bad" for trial in search.trials.values())
                counts[method] = {"tried": search.candidates_tried, "bad": bad}
        rule, size = search.space.rule, len(search.space.candidates)
        ratios, rule_us = compared(LayerBench(task, target, device, Path(folder)), {"rule": rule, **found}, args.turns)
    methods = {
        method: {"speed_x": ratios[method], "kernel": found[method].describe(), **counts[method]} for method in found
    }
    return {"layer": name, "candidates": size, "rule_us": rule_us, "rule": rule.describe(), "methods": methods}


def searched(search: LayerSearch, method: str, args: argparse.Namespace) -> None:
    """Search for the seconds that every method has."""
    if method == "metaschedule":
        MetaScheduleSearch(search, seed=args.seed).run(args.seconds)
        return
    end = time.monotonic() + args.seconds
    while time.monotonic() < end and not search.is_exhausted:
        search.step()


def compared(bench: LayerBench, choices: dict[str, KernelChoice], turns: int) -> tuple[dict[str, float], float]:
    """How many times faster than the rule's each is, in the same passes; medians over calls."""
    order = [*choices.values(), *reversed(choices.values())]
    speeds: dict[str, list[float]] = {name: [] for name in choices}
    rule_us = []
    for _ in range(turns):
        times = bench.times(order)
        both = {name: (times[i] + times[-1 - i]) / 2 for i, name in enumerate(choices)}
        rule_us.append(both["rule"])
        for name, own in both.items():
            speeds[name].append(both["rule"] / own)
    return {name: statistics.median(values) for name, values in speeds.items()}, statistics.median(rule_us)


def line(row: dict[str, Any]) -> str:
    """A row for people."""
    found = "  ".join(f"{name} {own['speed_x']:.2f}x of {own['tried']}" for name, own in row["methods"].items())
    return f"{row['layer']:38s} rule {row['rule_us']:9.1f} us  {found}"


if __name__ == "__main__":
    main()
