"""Write RESULTS.md from the JSON files in `results/`, which the scripts beside this one made.

    python benchmarks/write_results.py

Published figures stand beside ours with their own base accuracies; their sources are named in the table.
"""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from act.device.precision import TOLERANCES

HERE = Path(__file__).parent
RESULTS = HERE / "results"

# Network, method, base accuracy, accuracy, conv params and MACs fewer; CIFAR-10, as their papers give them.
PUBLISHED: dict[str, list[tuple[str, float, float, float | None, float | None]]] = {
    "vgg16": [
        ("AutoCompress (arXiv:1907.03141)", 93.7, 93.21, 52.2, 8.8),
        ("ADMM filter, annealing (same)", 93.7, 93.22, 13.7, 3.1),
        ("OTOv2", 93.1, 93.27, 19.9, 3.8),
        ("CHIP", 93.96, 93.72, 6.0, 3.0),
    ],
    "resnet18": [
        ("AutoCompress (arXiv:1907.03141)", 93.9, 93.43, 61.2, 13.3),
        ("AutoCompress, FLOPs (same)", 93.9, 93.81, 54.2, 12.2),
    ],
    "resnet56": [
        ("DepGraph", 93.53, 93.77, None, 2.11),
        ("DepGraph", 93.53, 93.64, None, 2.57),
        ("CHIP", 93.26, 92.43, 3.3, 3.9),
    ],
    "resnet20": [
        ("Hinge", 92.22, 91.84, None, 1.83),
        ("DHP", 92.22, 91.54, None, 2.07),
    ],
}


def main() -> None:
    """Write the file."""
    sections = [
        *(_compress(), _ablations(), _demo(), _admm(), _training_compiled()),
        *(_ranking(), _search(), _processes(), _torchvision(), _compiled(), _compile_cost()),
        *(_shares(), _ncnn(), _tuning(), _overhead(), _fuzz()),
    ]
    text = "# Results\n\nWritten by `benchmarks/write_results.py` from the JSON files in `benchmarks/results/`.\n\n"
    (HERE / "RESULTS.md").write_text(text + "\n\n".join(section for section in sections if section) + "\n")


def _compress() -> str:
    runs = [_read(path) for path in sorted(RESULTS.glob("compress-*.json"))]
    rows = []
    for network in dict.fromkeys(run["network"] for run in runs):
        rows.extend(_run_row(run) for run in runs if run["network"] == network)
        for method, base, accuracy, conv, macs in PUBLISHED.get(network, ()):
            sizes = [f"{value:g}×" if value else "–" for value in (conv, macs)]
            rows.append(
                (
                    network,
                    method,
                    f"{base:g}",
                    f"{accuracy:g}",
                    f"{accuracy - base:+.2f}",
                    "–",
                    *sizes,
                    "–",
                    "published",
                )
            )
    headings = ("network", "method", "base %", "after %", "change", "params", "conv", "MACs", "minutes", "how")
    note = (
        "Test accuracy on CIFAR-10. The base of our rows is the given network itself, whose weights were trained on "
        "all 50,000 training images; we train on 45,000 of them and decide on the other 5,000. Published rows have "
        "their own base."
    )
    return _section("Accuracy at a cost", note, headings, rows)


def _run_row(run: dict[str, Any]) -> tuple[str, ...]:
    ratios = run["ratios"]
    asked = ", ".join(f"{kind.removesuffix('_x')} {value:g}×" for kind, value in run["constraint"]["asked"].items())
    effort = f"`{run['effort']}`" + (f" with `{run['settings']}`" if run["settings"] else "")
    how = f"{effort}, {run['granularity']}, seed {run['seed']}, asked {asked or 'the smallest'}"
    return (
        run["network"],
        "**act**",
        f"{run['accuracy_before']:.2f}",
        f"{run['accuracy_after']:.2f}",
        f"{run['accuracy_after'] - run['accuracy_before']:+.2f}",
        f"{ratios['params']:.2f}×",
        f"{ratios['conv_params']:.2f}×",
        f"{ratios['macs']:.2f}×",
        f"{run['seconds'] / 60:.0f}",
        f"{how}; {_hardware(run)}",
    )


def _ablations() -> str:
    sections = []
    for path in sorted(RESULTS.glob("ablations-*.json")):
        found = _read(path)
        of = {(row["method"], row["seed"]): row for row in found["rows"] if "problem" not in row}
        rows, seeds = [], sorted({seed for _, seed in of})
        for method in dict.fromkeys(method for method, _ in of):
            own = [of[method, seed] for seed in seeds if (method, seed) in of and ("act", seed) in of]
            if not own:
                continue
            changes = [row["accuracy_top1"] - of["act", row["seed"]]["accuracy_top1"] for row in own]
            rows.append(
                (
                    method,
                    own[0]["text"],
                    " / ".join(f"{row['accuracy_top1']:.2f}" for row in own),
                    "" if method == "act" else _spread(changes),
                    *(f"{statistics.median(row[key] for row in own):.2f}×" for key in ("params_x", "macs_x")),
                    f"{statistics.median(row['epochs'] for row in own):g}",
                )
            )
        note = (
            f"{found['network']} on {found['images']:,} training images of {found['data']}, {found['macs_x']:g}× fewer "
            f"MACs, {found['trials']} trials a round, seeds {', '.join(map(str, seeds))}: test accuracy, and "
            "the mean difference from `act` with the same seed (least … most). So few images and epochs are for the "
            f"comparison, not for accuracy; {_hardware(found)}."
        )
        headings = ("method", "what", "accuracy, %", "against act, points", "params", "MACs", "epochs")
        sections.append(_section(f"What each part gives: {found['network']}", note, headings, rows))
    return "\n\n".join(sections)


def _spread(changes: Sequence[float]) -> str:
    return f"{statistics.mean(changes):+.2f} ({min(changes):+.2f} … {max(changes):+.2f})"


def _demo() -> str:
    path = RESULTS / "demo_seeds.json"
    if not path.exists():
        return ""
    runs = _read(path)["runs"]
    pick: list[tuple[str, Callable[[dict[str, Any]], float], str]] = [
        ("test accuracy before, %", lambda run: run["accuracy_before"], ".2f"),
        ("after, %", lambda run: run["accuracy_after"], ".2f"),
        ("params", lambda run: run["params_x"], ".1f"),
        ("MACs", lambda run: run["macs_x"], ".1f"),
        ("ONNX file", lambda run: run["file_bytes_x"], ".1f"),
        ("latency measured on the local device", lambda run: run["latency_measured_x"], ".1f"),
        ("minutes", lambda run: run["seconds"] / 60, ".1f"),
    ]
    headings = ("", "median", *(f"seed {run['seed']}" for run in runs))
    rows = [
        (name, *(format(value, form) for value in (statistics.median(map(get, runs)), *map(get, runs))))
        for name, get, form in pick
    ]
    note = f"`make demo`, ratios before over after; {_hardware(runs[0])}."
    return _section("The demonstration: handwritten digits, ResNet-20", note, headings, rows)


def _admm() -> str:
    files = [_read(path) for path in sorted(RESULTS.glob("admm_overhead_*.json"))]
    if not files:
        return ""
    rows = []
    for found in files:
        rows.append((found["network"], "ADMM step over plain step", f"{found['admm']['ratio_median']:.2f}", ""))
        for granularity, rounds in found["rounds"].items():
            for step in rounds[1:]:
                what = f"epoch after {step['macs_ratio']:.1f}× fewer MACs, {granularity}"
                rows.append((found["network"], what, f"{step['speed_ratio']:.2f}× faster", ""))
    note = f"Ratios within one run, {files[0]['precision']}, {files[0]['threads']} thread(s) of a {files[0]['device']}."
    return _section("What training costs", note, ("network", "what", "ratio", ""), rows)


def _training_compiled() -> str:
    rows = []
    for path in sorted(RESULTS.glob("compiled_training*.json")):
        found = _read(path)
        for row in found["rows"]:
            saved = row["plain_step_ms"] * (1 - 1 / row["speed_ratio"]) / 1e3
            pays = f"{row['compile_seconds'] / saved:,.0f}" if saved > 0 else "never"
            speed, compiling = f"{row['speed_ratio']:.2f}×", f"{row['compile_seconds']:.0f}"
            where = f"{found['precision']}, {found['threads']} threads, {_hardware(found)}"
            rows.append((found["network"], f"{row['macs_ratio']:.1f}×", speed, compiling, pays, where))
    headings = ("network", "MACs fewer", "faster", "seconds to compile", "pays after steps", "where")
    return _section("What torch.compile gains in training", "Alternating epochs in one run.", headings, rows)


def _search() -> str:
    path = RESULTS / "search_cost.json"
    if not path.exists():
        return ""
    found = _read(path)
    rows = []
    for row in found["rows"]:
        peaks = row.get("peak_bytes_by_trials", {})
        rows.append(
            (
                row["strategy"],
                "yes" if row["early_rejection"] else "no",
                f"{row['trials']:g}",
                f"{row['seconds_per_trial']:.3f}",
                f"{row['best_quick_accuracy']:.1f}",
                ", ".join(f"{count}: {peak / 2**20:.2f}" for count, peak in peaks.items()),
            )
        )
    note = (
        f"{found['network']} on {found['data']} at {found['macs_x']:g}× fewer MACs, means over seeds "
        f"{', '.join(map(str, found['seeds']))}; quick accuracy is that before any retraining; {_hardware(found)}."
    )
    headings = ("search", "early rejection", "trials", "seconds a trial", "quick accuracy, %", "peak MiB by trials")
    return _section("What a search costs", note, headings, rows)


def _processes() -> str:
    path = RESULTS / "two_processes.json"
    if not path.exists():
        return ""
    found = _read(path)
    texts = {
        "whole": "one process, whole batches",
        "parts": "one process, batches in two parts",
        "processes": "two processes, a part each",
    }
    rows = []
    for kind, text in texts.items():
        own = [row["accuracy_top1"] for row in found["rows"] if row["kind"] == kind]
        rows.append((text, f"{statistics.mean(own):.2f}", " / ".join(f"{value:.2f}" for value in own)))
    equal = [name for name, same in found["equal"].items() if same]
    note = (
        f"ResNet-20 on digits, {found['macs_x']:g}× fewer MACs, seeds {', '.join(map(str, found['seeds']))}; "
        f"{_hardware(found)}. The last two agree bit for bit in: {', '.join(equal) or 'nothing'}."
    )
    return _section("Two processes against one", note, ("how", "test accuracy, mean", "by seed"), rows)


def _ranking() -> str:
    path = RESULTS / "rank_correlation.json"
    if not path.exists():
        return ""
    found = _read(path)
    rows = [
        (f"{rate['macs_x']:g}×", name.replace("_", " "), *(f"{value[key]:.2f}" for key in ("rho", "p")))
        for rate in found["rates"]
        for name, value in rate["spearman"].items()
        if value is not None  # all candidates alike
    ]
    note = (
        f"Spearman's rank correlation of quick evaluation with accuracy after {found['retraining_epochs']} epochs, "
        f"{found['candidates']} candidates of {found['network']} on {found['data']}, seed {found['seed']}."
    )
    return _section("How quick evaluation ranks", note, ("MACs", "what ranks", "rho", "p"), rows)


def _torchvision() -> str:
    path = RESULTS / "torchvision_networks.json"
    if not path.exists():
        return ""
    found = _read(path)
    rows = []
    for row in found["networks"]:
        theirs = row["torch_pruning"]
        tp = f"{theirs['params'] / theirs['params_left']:.2f}×" if theirs.get("ok") else theirs.get("error", "no")[:60]
        if "error" in row:
            rows.append((row["network"], row["error"][:80], "", "", "", "", tp))
            continue
        worst = max(row["compact_difference"], row["onnx_difference"])
        sizes = (f"{row['params'] / row['params_left']:.2f}×", f"{row['macs'] / max(row['macs_left'], 1):.2f}×")
        groups = f"{row['prunable_groups']} of {row['groups']}"
        rows.append((row["network"], "equal" if row["passed"] else "DIFFERS", f"{worst:.0e}", groups, *sizes, tp))
    note = (
        f"{found['ratio']:.0%} of the filters of every prunable group and of the columns of every layer removed by "
        "magnitude: masked = compact = onnxruntime, difference relative to the largest output (allowed 1e-4). Beside "
        "it the params that Torch-Pruning removes at the same ratio."
    )
    headings = ("network", "", "difference", "prunable groups", "params", "MACs", "Torch-Pruning, params")
    return _section("torchvision's classification networks", note, headings, rows)


def _compile_cost() -> str:
    path = RESULTS / "compile_cost.json"
    if not path.exists():
        return ""
    found = _read(path)
    rows = []
    for row in found["rows"]:
        begin = (row["network"], row["target"], row["precision"])
        if "problem" in row:
            rows.append((*begin, row["problem"][:80], "", "", "", ""))
            continue
        sizes = (f"{row['peak_memory_mb']:.0f}", f"{row['arena_bytes'] / 1e6:.2f}", f"{row['arena_ratio']:.2f}×")
        rows.append((*begin, f"{row['seconds']:.1f}", f"{row['cpu_seconds']:.1f}", *sizes))
    note = (
        "One process for each compilation, imports and verification pair included. The arena is compared with the "
        f"largest sum of tensors alive in one step, halos included, weights apart; {found['threads']} cores allowed; "
        f"{_hardware(found)}."
    )
    headings = ("network", "target", "precision", "seconds", "CPU seconds", "peak MB", "arena MB", "arena over live")
    return _section("What compiling costs", note, headings, rows)


def _compiled() -> str:
    path = RESULTS / "compile_networks.json"
    if not path.exists():
        return ""
    found = _read(path)
    rows = []
    for row in found["networks"]:
        cells = [row["network"], str(row.get("size", ""))]
        for target in found["targets"]:
            result = row.get("targets", {}).get(target, {"error": row.get("error", "not run")})
            if "error" in result:
                cells.append(result["error"][:120])
                continue
            difference = result.get("difference")
            verdict = "not run" if difference is None else f"{difference:.0e}"
            verdict += (
                " DIFFERS"
                if difference is not None and difference > TOLERANCES[target.partition(":")[2] or "fp32"]
                else ""
            )
            cells.append(f"{verdict}, {result['steps']} kernels")
        rows.append(cells)
    allowed = ", ".join(f"{limit:g} in {precision}" for precision, limit in TOLERANCES.items())
    note = (
        "Random weights, exported, compiled and run on a local OpenCL device: the difference to onnxruntime on the "
        f"exported file, relative to the largest output (allowed {allowed}), and kernels. "
        f"{_hardware(found)}."
    )
    headings = ("network", "pixels", *found["targets"])
    return _section("What compiles", note, headings, rows)


def _shares() -> str:
    sections = []
    for path in sorted(RESULTS.glob("realised_share_*.json")):
        found = _read(path)
        rows = [
            (
                row["network"],
                row["kind"],
                f"{row['macs_x']:.2f}×",
                f"{row['dense_ms']:.1f}",
                f"{row['compact_ms']:.1f}",
                f"{row['speed_x']:.2f}×",
                f"{row['share']:.2f}",
                f"{row['asked']:.2f}",
                f"{row['paper']:.2f}" if row["paper"] else "–",
            )
            for row in found["rows"]
        ]
        note = (
            f"{found['device']['id']}, {found['device']['name']}; {_hardware(found)}. The share is the ratio of speed "
            "over that of MACs, dense and compact by turns; the paper's are of an Adreno 640."
        )
        headings = ("network", "plan", "MACs", "dense ms", "compact ms", "faster", "share", "asked", "paper")
        sections.append(_section(f"Speed from fewer MACs, {found['device']['id']}", note, headings, rows))
    return "\n\n".join(sections)


def _ncnn() -> str:
    path = RESULTS / "against_ncnn.json"
    if not path.exists():
        return ""
    found = _read(path)
    rows = [
        (
            row["network"],
            *(f"{row[f'{kind}_ms']:.0f}" for kind in ("ncnn", "dense", "compact")),
            *(f"{row[f'{kind}_x']:.2f}×" for kind in ("dense", "compact")),
        )
        for row in found["rows"]
    ]
    note = f"Milliseconds on one Vulkan device, fp32, 224 pixels; compact is `{found['plan']}`; {_hardware(found)}."
    headings = ("network", "ncnn", "act, dense", "act, compact", "dense, as fast as ncnn", "compact")
    return _section("Beside ncnn", note, headings, rows)


def _overhead() -> str:
    path = RESULTS / "harness_overhead.json"
    if not path.exists():
        return ""
    found = _read(path)
    rows = [
        (
            row["device"],
            row["network"],
            f"{row['p50_ms']:.3g}",
            f"{row['from_median_percent']:.1f}",
            _furthest([p50 for p50, flags in zip(row["p50s_ms"], row["flags"], strict=True) if not flags]),
            f"{row['flagged']} of {row['repeats']}",
            f"{row['overhead_s']:.2f} ({row['overhead_most_s']:.2f})",
            f"{row['first_overhead_s']:.2f}",
            f"{row['loaded_flagged']} of {row['loaded_repeats']}",
        )
        for row in found["rows"]
    ]
    note = (
        "One package measured again and again: how far the furthest of the medians lies from the middle one, of all "
        "and of those that nothing disturbed; and what a measurement takes beyond warm-up and samples (building "
        "kernels, verifying, the reference before and after, adb). The phone is an emulated one on the same machine, "
        f"behind the real adb. Under load a process counts on every processor. {_hardware(found)}."
    )
    headings = (
        *(
            "device",
            "network",
            "p50 ms",
            "± %",
            "not flagged, ± %",
            "flagged",
            "overhead s (most)",
            "the first",
            "flagged under load",
        ),
    )
    return _section("Measuring", note, headings, rows)


def _furthest(medians: list[float]) -> str:
    """The largest distance to the middle one, in percent of it."""
    if not medians:
        return "–"
    return f"{100 * max(abs(median / statistics.median(medians) - 1) for median in medians):.1f}"


def _tuning() -> str:
    sections = []
    for path in sorted(RESULTS.glob("tuning*.json")):
        found = _read(path)
        methods = list(found["rows"][0]["methods"])
        rows = [
            (
                row["layer"],
                str(row["candidates"]),
                f"{row['rule_us']:.0f}",
                *(f"{row['methods'][m]['speed_x']:.2f}× of {row['methods'][m]['tried']}" for m in methods),
                row["methods"][methods[0]]["kernel"],
            )
            for row in found["rows"]
        ]
        speeds = {m: [row["methods"][m]["speed_x"] for row in found["rows"]] for m in methods}
        means = (f"**{statistics.geometric_mean(values):.2f}×**" for values in speeds.values())
        rows.append(("geometric mean", "", "", *means, ""))
        device = found["device"]
        note = (
            "Speed of the best kernel found over the rule's, and how many candidates were tried in "
            f"{found['seconds']:g} seconds a layer and method, on {device['id']} ({device['name']}): `act tune`'s "
            "search, random search, and TVM's MetaSchedule, all over the same candidates with the same builder and "
            f"runner; the winners are timed side by side, by turns; {_hardware(found)}."
        )
        headings = ("layer", "candidates", "rule, µs", *methods, "kernel that act found")
        sections.append(_section(f"Searches for kernels, {device['id']}", note, headings, rows))
    return "\n\n".join(sections)


def _fuzz() -> str:
    path = RESULTS / "fuzz_runtime.json"
    if not path.exists():
        return ""
    found = _read(path)
    rows = [(name, f"{share:.1f}") for name, share in found["line_coverage"].items()]
    note = (
        f"{found['executions']:,} damaged packages under the address and undefined-behaviour sanitizers, seed "
        f"{found['seed']}: {found['findings']} findings. Lines of the C runtime that they reached:"
    )
    return _section("Hostile packages", note, ("file", "lines, %"), rows)


def _section(title: str, note: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = ["| " + " | ".join(cells) + " |" for cells in (headings, ["---"] * len(headings), *rows)]
    return f"## {title}\n\n{note}\n\n" + "\n".join(lines)


def _hardware(run: dict[str, Any]) -> str:
    environment = run["environment"]
    return f"{environment['cores']} cores of {environment['processor']}"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    main()
