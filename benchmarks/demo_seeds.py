"""The demonstration over several seeds: before and after, and medians.

    python benchmarks/demo_seeds.py --seeds 0 1 2 --out benchmarks/results/demo_seeds.json

Each run is `act compress --target adreno640 --effort quick --seed N` in a new process and an empty folder.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "act.toolchain", "compress", "--target", "adreno640", "--effort", "quick", "--quiet"]


def run_once(seed: int) -> dict:
    """Run one seed and pick the figures that the README quotes."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        done = subprocess.run(
            [*COMMAND, "--seed", str(seed), "--json", "--out", f"{folder}/run"], stdout=subprocess.PIPE, check=True
        )
        seconds = time.perf_counter() - began
    report = json.loads(done.stdout)
    return {
        "seed": seed,
        "seconds": seconds,
        "accuracy_before": report["baseline"]["accuracy_top1"],
        "accuracy_after": report["result"]["accuracy_top1"],
        "accuracy_drop": report["accuracy_drop"],
        **{f"{name}_x": value for name, value in report["ratios"].items()},
        "largest_difference": max(check["difference"] for check in report["equality"]),
        "environment": report["environment"],
    }


def main() -> None:
    """Run every seed, print a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        rows.append(run_once(seed))
        print({key: round(value, 2) for key, value in rows[-1].items() if isinstance(value, int | float)}, flush=True)
    numbers = [key for key, value in rows[0].items() if isinstance(value, int | float) and key != "seed"]
    medians = {key: statistics.median(row[key] for row in rows) for key in numbers}
    print("median", {key: round(value, 2) for key, value in medians.items()})
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({"medians": medians, "runs": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
