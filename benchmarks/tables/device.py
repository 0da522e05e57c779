"""Tables of the device harness: what measuring costs, and hostile packages."""

import statistics

from .layout import hardware, result, section


def overhead() -> str:
    """What a measurement costs and how it repeats, by `harness_overhead.py`."""
    found = result("harness_overhead.json")
    if found is None:
        return ""
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
        f"behind the real adb. Under load a process counts on every processor. {hardware(found)}."
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
    return section("Measuring", note, headings, rows)


def _furthest(medians: list[float]) -> str:
    """The largest distance to the middle one, in percent of it."""
    if not medians:
        return "–"
    return f"{100 * max(abs(median / statistics.median(medians) - 1) for median in medians):.1f}"


def fuzz() -> str:
    """Damaged packages, by `fuzz_runtime.py`."""
    found = result("fuzz_runtime.json")
    if found is None:
        return ""
    rows = [(name, f"{share:.1f}") for name, share in found["line_coverage"].items()]
    note = (
        f"{found['executions']:,} damaged packages under the address and undefined-behaviour sanitizers, seed "
        f"{found['seed']}: {found['findings']} findings. Lines of the C runtime that they reached:"
    )
    return section("Hostile packages", note, ("file", "lines, %"), rows)
