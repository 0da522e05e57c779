"""What each source of improvement gives: `act compare` with one thing changed at a time, over seeds.

    python benchmarks/ablations.py --weights resnet20.safetensors --data cifar10:DIR --run runs/ablations
    python benchmarks/write_results.py

Every method meets the same MACs and trains for the same number of steps. Trains on a part of the training images, so
that all methods and seeds take hours, not days, on two cores: the differences count, not the accuracies. What the
results already hold is not run again, and each run is written as soon as it is done, so that they may come from several
sittings; the run folder continues the one that was interrupted. Several of these may work at a time, each with seeds of
its own.
"""

import argparse
import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
METHODS = (
    *("filter", "combined-block", "manual", "random", "one-shot", "raw-norms"),
    *("no-purify", "no-reestimate", "no-distill"),
)
KEPT = ("images", "admm_epochs", "retrain_epochs", "final_epochs", "trials", "threads", "macs_x")
SETTINGS = """effort = "quick"
threads = {threads}
[data]
limit_train = {images}
[prune]
admm_epochs = {admm_epochs}
[train]
reference_epochs = 0
retrain_epochs = {retrain_epochs}
final_epochs = {final_epochs}
[search]
trials = {trials}
"""


def main() -> None:
    """Run what is left, print and write every run's figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--macs-x", type=float, default=4.0)
    parser.add_argument("--methods", nargs="+", default=METHODS, help="see act compare --list")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=5000, help="training images")
    parser.add_argument("--admm-epochs", type=int, default=2, help="before they are scaled for the small set, a round")
    parser.add_argument("--retrain-epochs", type=int, default=1)
    parser.add_argument("--final-epochs", type=int, default=6)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--run", type=Path, required=True, help="keeps the runs")
    parser.add_argument("--out", type=Path, help="default results/ablations-NETWORK.json")
    args = parser.parse_args()
    out = args.out or RESULTS / f"ablations-{args.network}.json"
    settings = {"network": args.network, "data": args.data.split(":", 1)[0]}
    settings |= {name: getattr(args, name) for name in KEPT}
    for seed, method in product(args.seeds, ("act", *args.methods)):
        known = rows_of(out, settings)
        if (method, seed) in known:
            continue
        found = compared(args, method, seed)
        processor = found["environment"]["processor"]
        new = {(row["method"], row["seed"]): row | {"processor": processor} for row in found["rows"]}
        print(json.dumps(new[method, seed]), flush=True)
        rows = new | rows_of(out, settings)  # `act` ran again, and another of these may have written meanwhile
        results = {**settings, "rows": list(rows.values()), "environment": found["environment"]}
        out.parent.mkdir(parents=True, exist_ok=True)
        fresh = out.with_name(f".{out.name}.{os.getpid()}")
        fresh.write_text(json.dumps(results, indent=2) + "\n")
        fresh.replace(out)


def rows_of(out: Path, settings: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """Runs that the results hold, by method and seed; those of other settings are refused."""
    if not out.exists():
        return {}
    found = json.loads(out.read_text())
    if other := [name for name, value in settings.items() if found.get(name) != value]:
        sys.exit(f"{out} holds runs with another {', '.join(other)}: choose another file with --out")
    return {(row["method"], row["seed"]): row for row in found["rows"] if "problem" not in row}


def compared(args: argparse.Namespace, method: str, seed: int) -> dict[str, Any]:
    """Run or continue `act compare`; returns what it prints as JSON."""
    args.run.mkdir(parents=True, exist_ok=True)
    settings = args.run / "settings.toml"
    settings.write_text(SETTINGS.format(**vars(args)))
    command = [sys.executable, "-m", "act.toolchain", "compare", args.network, "--weights", str(args.weights)]
    command += ["--data", args.data, "--macs-x", str(args.macs_x), "--config", str(settings), "--json"]
    command += ["--seeds", str(seed), "--out", str(args.run), "--methods", method]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode or not done.stdout:
        sys.exit(done.returncode or 1)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
