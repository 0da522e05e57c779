"""How well quick evaluation ranks candidates: its rank correlation with the accuracy after a short retraining.

    python benchmarks/rank_correlation.py --candidates 16 --macs-x 2 4 --out benchmarks/results/rank_correlation.json

Random actions are projected onto one budget. Each is judged as the search does it, once with batch-norm statistics
re-estimated and once with the stored ones; then it is pruned, made compact and retrained by the recipe of a round.
Spearman's rank correlation of each judgement with the retrained accuracy on the search part is printed and written.
`--run DIR` keeps what was done, so that the same command continues after an interruption.
"""

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from act.toolchain.capture import CapturedNetwork
from act.toolchain.config import CompressConfig
from act.toolchain.config_file import resolve
from act.toolchain.coupling import find_coupling
from act.toolchain.environment import describe_environment
from act.toolchain.keep_indices import PruningPlan
from act.toolchain.pipeline import Pipeline
from act.toolchain.progress import Progress
from act.toolchain.run_folder import RunFolder
from act.toolchain.search.budget import Budget
from act.toolchain.search.fast_evaluation import FastEvaluation, badness
from act.toolchain.search.problem import network_problem
from act.toolchain.stages.compact import compact_stage
from act.toolchain.stages.retrain import retrain_stage
from act.toolchain.workbench import State, Workbench
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
        rates = []
        for macs_x in args.macs_x:
            rows = candidates(bench, dense, count=args.candidates, macs_x=macs_x, epochs=args.epochs)
            rates.append({"macs_x": macs_x, "spearman": correlations(rows), "rows": rows})
        results = {
            "network": config.network.model,
            "data": config.data.spec,
            "seed": args.seed,
            "candidates": args.candidates,
            "search_images": min(config.search.images, len(bench.search_part)),
            "recalibration_images": config.search.recalibration_images,
            "retraining_epochs": bench.epochs(args.epochs),
            "rates": rates,
            "seconds": time.perf_counter() - began,
            **describe_environment(),
        }
    show(results)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")


def candidates(
    bench: Workbench, dense: CapturedNetwork, *, count: int, macs_x: float, epochs: int
) -> list[dict[str, float]]:
    """Quick judgements of random candidates, and their accuracy after retraining."""
    coupling = find_coupling(dense)
    space = bench.space(dense, coupling)
    budget = Budget(limits={"macs": space.costs()["macs"] / macs_x})
    reestimated = bench.fast_evaluation(dense, coupling)
    stored = FastEvaluation(
        dense, coupling, train=bench.train_part, search=bench.search_part, device=bench.device,
        images=bench.config.search.images, recalibration_images=0,
    )  # fmt: skip
    problem = network_problem(space, budget, "macs", reestimated)
    rng = np.random.default_rng(bench.seed_of("rank correlation"))
    rows = []
    for index in range(count):
        # Actions of the prior and random ones in turn: good and bad candidates.
        plan = problem.project(problem.initial(rng) if index % 2 else problem.random(rng)).plan
        name, dense_state = f"{macs_x:g}x candidate {index}", State(network=dense, plan=PruningPlan())
        state, _ = compact_stage(bench, f"{name} compact", dense_state, dense, plan)
        _, retrained = retrain_stage(bench, f"{name} retrain", state, epochs)
        row = {"retrained_accuracy": retrained["search_accuracy_top1"]}
        for kind, judge in (("reestimated", reestimated), ("stored", stored)):
            found = judge(plan)
            row |= {f"{kind}_accuracy": found.accuracy_top1, f"{kind}_score": -badness(found)}
        rows.append(row)
    return rows


def correlations(rows: list[dict[str, float]]) -> dict[str, dict[str, float] | None]:
    """Spearman's rank correlation of each judgement with the retrained accuracy; None where it tells nothing apart.

    The score is what the search ranks by: accuracy with a little of the loss.
    """
    retrained = [row["retrained_accuracy"] for row in rows]
    found: dict[str, dict[str, float] | None] = {}
    for name in ("reestimated_score", "reestimated_accuracy", "stored_score", "stored_accuracy"):
        values = [row[name] for row in rows]
        result = spearmanr(values, retrained) if len(set(values)) > 1 else None
        found[name] = None if result is None else {"rho": float(result.statistic), "p": float(result.pvalue)}
    return found


def show(results: dict[str, Any]) -> None:
    """Print the correlations with where they come from."""
    processor = results["environment"]["processor"]
    print(f"{results['network']} on {results['data']}, {results['retraining_epochs']} epochs of retraining")
    print(f"{processor}, seed {results['seed']}, N = {results['candidates']}")
    for rate in results["rates"]:
        for name, found in rate["spearman"].items():
            text = "all candidates equal" if found is None else f"{found['rho']:.3f} (p {found['p']:.2g})"
            print(f"{rate['macs_x']:g}x fewer MACs, Spearman of {name}: {text}")


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
    parser.add_argument("--macs-x", type=float, nargs="+", default=[2.0, 4.0])
    parser.add_argument("--epochs", type=int, default=1, help="of retraining; small sets get more, as in a run")
    parser.add_argument("--images", type=int, default=1000, help="search images of the quick evaluation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="run folder to keep")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
