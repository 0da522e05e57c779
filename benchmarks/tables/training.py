"""Tables of what training and searching cost, and how they agree."""

import statistics

from .layout import RESULTS, hardware, read, result, section


def admm() -> str:
    """Steps and epochs as ratios, by `admm_overhead.py`."""
    files = [read(path) for path in sorted(RESULTS.glob("admm_overhead_*.json"))]
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
    return section("What training costs", note, ("network", "what", "ratio", ""), rows)


def training_compiled() -> str:
    """Training through torch.compile, by `compiled_training.py`."""
    rows = []
    for path in sorted(RESULTS.glob("compiled_training*.json")):
        found = read(path)
        for row in found["rows"]:
            saved = row["plain_step_ms"] * (1 - 1 / row["speed_ratio"]) / 1e3
            pays = f"{row['compile_seconds'] / saved:,.0f}" if saved > 0 else "never"
            speed, compiling = f"{row['speed_ratio']:.2f}×", f"{row['compile_seconds']:.0f}"
            where = f"{found['precision']}, {found['threads']} threads, {hardware(found)}"
            rows.append((found["network"], f"{row['macs_ratio']:.1f}×", speed, compiling, pays, where))
    headings = ("network", "MACs fewer", "faster", "seconds to compile", "pays after steps", "where")
    return section("What torch.compile gains in training", "Alternating epochs in one run.", headings, rows)


def ranking() -> str:
    """Quick evaluation against retraining, by `rank_correlation.py`."""
    found = result("rank_correlation.json")
    if found is None:
        return ""
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
    return section("How quick evaluation ranks", note, ("MACs", "what ranks", "rho", "p"), rows)


def search() -> str:
    """Trials in time, memory and accuracy, by `search_cost.py`."""
    found = result("search_cost.json")
    if found is None:
        return ""
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
        f"{', '.join(map(str, found['seeds']))}; quick accuracy is that before any retraining; {hardware(found)}."
    )
    headings = ("search", "early rejection", "trials", "seconds a trial", "quick accuracy, %", "peak MiB by trials")
    return section("What a search costs", note, headings, rows)


def processes() -> str:
    """One process against two, by `two_processes.py`."""
    found = result("two_processes.json")
    if found is None:
        return ""
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
        f"{hardware(found)}. The last two agree bit for bit in: {', '.join(equal) or 'nothing'}."
    )
    return section("Two processes against one", note, ("how", "test accuracy, mean", "by seed"), rows)


def torchvision() -> str:
    """Torchvision's networks through the toolchain, by `torchvision_networks.py`."""
    found = result("torchvision_networks.json")
    if found is None:
        return ""
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
    return section("torchvision's classification networks", note, headings, rows)
