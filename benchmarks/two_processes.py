"""Two processes against one: the same decisions, the same network, the same accuracy.

    python benchmarks/two_processes.py --seeds 0 1 2 --out benchmarks/results/two_processes.json

Each seed runs `act compress` three times: one process with whole batches, one process that divides every batch into
two parts, and two processes (torchrun) with one part each. Batch norm is not synchronised: a part is normalised by its
own statistics. So the last two must agree bit for bit, and the first shows what dividing the batch costs in accuracy.
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

KINDS = {"whole": (1, 1), "parts": (1, 2), "processes": (2, 2)}  # processes, parts of a batch


def main() -> None:
    """Run, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--macs-x", type=float, default=4.0)
    parser.add_argument("--run", type=Path, help="keeps the run folders, and continues them")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in args.seeds:
            for kind in KINDS:
                place = (args.run or Path(temporary)) / f"{kind}-{seed}"
                rows.append({"kind": kind, "seed": seed, **run(place, kind, seed, args.macs_x)})
                print(rows[-1], flush=True)
    of = {(row["kind"], row["seed"]): row for row in rows}
    results = {
        "macs_x": args.macs_x,
        "seeds": args.seeds,
        "equal": {
            what: all(of["parts", seed][what] == of["processes", seed][what] for seed in args.seeds)
            for what in ("decisions", "kept", "weights")
        },
        "accuracy": {kind: statistics.mean(of[kind, seed]["accuracy_top1"] for seed in args.seeds) for kind in KINDS},
        "rows": rows,
        "environment": of["whole", args.seeds[0]].pop("environment"),
    }
    for row in rows:
        row.pop("environment", None)
    print(json.dumps({key: results[key] for key in ("equal", "accuracy")}, indent=2))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=2) + "\n")


def run(folder: Path, kind: str, seed: int, macs_x: float) -> dict[str, Any]:
    """One `act compress` of the demonstration's network and data; its accuracy, and hashes of what it decided."""
    processes, parts = KINDS[kind]
    settings = folder.with_name(folder.name + ".toml")
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(f'effort = "quick"\nseed = {seed}\nthreads = 1\n[train]\nbatch_parts = {parts}\n')
    launch = [sys.executable, "-m"]
    if processes > 1:
        launch += ["torch.distributed.run", "--nproc-per-node", str(processes), "-m"]
    command = [*launch, "act.toolchain", "compress", "resnet20", "--target", "adreno640", "--json"]
    if (folder / "config.toml").exists():
        command += ["--resume", "--out", str(folder)]
    else:
        command += ["--macs-x", str(macs_x), "--config", str(settings), "--out", str(folder)]
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    report = json.loads(done.stdout)
    plan = json.loads((folder / "pruning_plan.json").read_text())
    counts = {
        part: {name: len(indices) for name, indices in sorted(plan[part].items())}
        for part in ("keep_filters", "keep_columns")
    }
    trials = (folder / "trials.jsonl").read_bytes()
    return {
        "accuracy_top1": report["result"]["accuracy_top1"],
        "macs_x": report["ratios"]["macs"],
        "decisions": _hash(trials),
        "kept": _hash(json.dumps(counts).encode()),
        "weights": _hash((folder / "weights.safetensors").read_bytes()),
        "seconds": time.perf_counter() - began,
        "environment": report["environment"],
    }


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


if __name__ == "__main__":
    main()
