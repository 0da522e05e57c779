"""How well quick evaluation ranks candidates: its rank correlation with the accuracy after a short retraining.

    python benchmarks/rank_correlation.py --candidates 16 --macs-x 4 --out benchmarks/results/rank_correlation.json

Random actions are projected onto the same budget. Each is judged as the search does it, once with batch-norm
statistics re-estimated and once with the stored ones; then it is pruned, made compact and retrained by the recipe of
a round. Spearman's rank correlation of both with the retrained accuracy on the search part is printed and written.
`--run DIR` keeps what was done, so that the same command continues after an interruption.
"""

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from act.toolchain.capture import CapturedNetwork
from act.toolchain.config import CompressConfig, resolve
from act.toolchain.coupling import find_coupling
from act.toolchain.environment import describe_environment
from act.toolchain.keep_indices import PruningPlan
from act.toolchain.pipeline import Pipeline
from act.toolchain.progress import Progress
from act.toolchain.rounds import State, Workbench, compact_stage, retrain_stage
from act.toolchain.run_folder import RunFolder
from act.toolchain.search.budget import Budget
from act.toolchain.search.fast_evaluation import FastEvaluation
from act.toolchain.search.problem import network_problem
from scipy.stats import spearmanr


def main() -> None:
    """Judge and retrain every candidate, print and write the correlations."""
    args = _arguments()
    began = time.perf_counter()
    with ExitStack() as stack:
        path = args.run or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
        config = _config(args)
        folder = RunFolder(path) if (path / "config.toml").exists() else RunFolder.create(path, config, {}, "")
        bench, dense = Pipeline(config, folder, Progress(), allow_code=args.model is not None).prepare()
        rows = candidates(bench, dense, count=args.candidates, macs_x=args.macs_x, epochs=args.epochs)
        epochs = bench.epochs(args.epochs)
    retrained = [row["retrained_accuracy"] for row in rows]
    correlations = {
        name: correlation([row[name] for row in rows], retrained)
        for name in ("reestimated_accuracy", "stored_accuracy")
    }
    results = {
        "network": config.network.model,
        "data": config.data.spec,
        "seed": args.seed,
        "macs_x": args.macs_x,
        "candidates": len(rows),
        "search_images": min(config.search.images, len(bench.search)),
        "recalibration_images": config.search.recalibration_images,
        "retraining_epochs": epochs,
        "spearman": correlations,
        "seconds": time.perf_counter() - began,
        "rows": rows,
        **describe_environment(),
    }
    print(f"{config.network.model} on {config.data.spec}, {args.macs_x:g}x fewer MACs, {epochs} epochs of retraining")
    print(f"{results['environment']['processor']}, seed {args.seed}, N = {len(rows)}")
    for name, found in correlations.items():
        print(f"Spearman {name}: {found['rho']:.3f} (p {found['p']:.2g})")
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=2) + "\n")


def candidates(
    bench: Workbench, dense: CapturedNetwork, *, count: int, macs_x: float, epochs: int
) -> list[dict[str, float]]:
    """Quick accuracies of random candidates, and theirs after retraining."""
    coupling = find_coupling(dense)
    space = bench.space(dense, coupling)
    budget = Budget(limits={"macs": space.costs()["macs"] / macs_x})
    judge = bench.fast_evaluation(dense, coupling)
    stored = FastEvaluation(
        dense, coupling, train=bench.train, search=bench.search, device=bench.device,
        images=bench.config.search.images, recalibration_images=0,
    )  # fmt: skip
    problem = network_problem(space, budget, "macs", judge)
    rng = np.random.default_rng(bench.seed_of("rank correlation"))
    rows = []
    for index in range(count):
        # Actions of the prior and random ones in turn: good and bad candidates.
        plan = problem.project(problem.initial(rng) if index % 2 else problem.random(rng)).plan
        state, _ = compact_stage(
            bench, f"candidate {index} compact", State(network=dense, plan=PruningPlan()), dense, plan
        )
        _, retrained = retrain_stage(bench, f"candidate {index} retrain", state, epochs)
        rows.append(
            {
                "reestimated_accuracy": judge(plan).accuracy_top1,
                "stored_accuracy": stored(plan).accuracy_top1,
                "retrained_accuracy": retrained["search_accuracy_top1"],
            }
        )
    return rows


def correlation(quick: list[float], retrained: list[float]) -> dict[str, float | None]:
    """Spearman's rank correlation; NaN where all values are equal."""
    found = spearmanr(quick, retrained)
    return {"rho": float(found.statistic), "p": float(found.pvalue)}


def _config(args: argparse.Namespace) -> CompressConfig:
    network = {"model": args.model, "weights": args.weights}
    flags = {
        "seed": args.seed,
        "network": {name: value for name, value in network.items() if value is not None},
        "data": {"spec": args.data},
        "goal": {"objective": "macs"},
        "search": {"images": args.images},
    }
    return resolve("quick", None, flags)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="default resnet20")
    parser.add_argument("--weights", type=Path, help="without weights the network is trained first")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--macs-x", type=float, default=4.0)
    parser.add_argument("--epochs", type=int, default=1, help="of retraining; small sets get more, as in a run")
    parser.add_argument("--images", type=int, default=1000, help="search images of the quick evaluation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="run folder to keep")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
