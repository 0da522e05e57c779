"""Tables of accuracy: at a cost, of each part of the method, of the demonstration."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from .layout import RESULTS, hardware, read, section

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


def compress() -> str:
    """Runs of `compress_network.py` beside published ones."""
    runs = [read(path) for path in sorted(RESULTS.glob("compress-*.json"))]
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
    return section("Accuracy at a cost", note, headings, rows)


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
        f"{how}; {hardware(run)}",
    )


def ablations() -> str:
    """What each part gives, by `ablations.py`."""
    sections = []
    for path in sorted(RESULTS.glob("ablations-*.json")):
        found = read(path)
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
        processors = " and ".join(dict.fromkeys(row["processor"] for row in of.values()))
        note = (
            f"{found['network']} on {found['images']:,} training images of {found['data']}, {found['macs_x']:g}× fewer "
            f"MACs, {found['trials']} trials a round, seeds {', '.join(map(str, seeds))}: test accuracy, and "
            "the mean difference from `act` with the same seed (least … most). So few images and epochs are for the "
            f"comparison, not for accuracy; one run a core, on {processors}."
        )
        headings = ("method", "what", "accuracy, %", "against act, points", "params", "MACs", "epochs")
        sections.append(section(f"What each part gives: {found['network']}", note, headings, rows))
    return "\n\n".join(sections)


def _spread(changes: Sequence[float]) -> str:
    return f"{statistics.mean(changes):+.2f} ({min(changes):+.2f} … {max(changes):+.2f})"


def demo() -> str:
    """The demonstration over seeds, by `demo_seeds.py`."""
    path = RESULTS / "demo_seeds.json"
    if not path.exists():
        return ""
    runs = read(path)["runs"]
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
    note = f"`make demo`, ratios before over after; {hardware(runs[0])}."
    return section("The demonstration: handwritten digits, ResNet-20", note, headings, rows)
