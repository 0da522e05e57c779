"""What a search costs: seconds a trial with and without early rejection, what it finds, and memory against trials.

    python benchmarks/search_cost.py --trials 60 --seeds 0 1 2 --out benchmarks/results/search_cost.json

Every strategy searches the same network under the same budget with the same number of trials. Peak memory is that of
Python's and NumPy's allocations during the search, for a fourth of the trials and for all.
"""

import argparse
import json
import statistics
import tempfile
import time
import tracemalloc
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from act.toolchain.capture import CapturedNetwork
from act.toolchain.config_file import resolve
from act.toolchain.coupling import find_coupling
from act.toolchain.environment import describe_environment
from act.toolchain.pipeline import Pipeline
from act.toolchain.progress import Progress
from act.toolchain.run_folder import RunFolder
from act.toolchain.search.budget import Budget
from act.toolchain.search.fast_evaluation import FastEvaluation
from act.toolchain.search.problem import SearchProblem, network_problem
from act.toolchain.search.strategies import make_strategy
from act.toolchain.search.trials import TrialJournal
from act.toolchain.workbench import Workbench

STRATEGIES = ("annealing", "random", "greedy", "genetic", "ddpg")
EARLY = ("annealing", "random")


def main() -> None:
    """Search with every strategy, print a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--macs-x", type=float, default=4.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument("--memory", action="store_true", help="measure memory, too; slower")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--run", type=Path, help="run folder to keep: the network is then trained once")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    network = {"model": args.model, **({"weights": args.weights} if args.weights else {})}
    config = resolve("quick", None, {"network": network, "data": {"spec": args.data}, "goal": {"objective": "macs"}})
    rows = []
    with ExitStack() as stack:
        path = args.run or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
        folder = RunFolder(path) if (path / "config.toml").exists() else RunFolder.create(path, config, {}, "")
        bench, dense = Pipeline(config, folder, Progress(), allow_code=False).prepare()
        for strategy in args.strategies:
            for early in (False, True) if strategy in EARLY else (False,):
                rows.append(measured(bench, dense, strategy, args, early=early))
                print({key: round(v, 4) if isinstance(v, float) else v for key, v in rows[-1].items()}, flush=True)
    results = {
        "network": args.model,
        "data": args.data,
        "macs_x": args.macs_x,
        "seeds": args.seeds,
        "rows": rows,
        **describe_environment(),
    }
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=2) + "\n")


def measured(
    bench: Workbench, dense: CapturedNetwork, strategy: str, args: argparse.Namespace, *, early: bool
) -> dict[str, Any]:
    """Means over the seeds for one strategy."""
    problem = _problem(bench, dense, args.macs_x, early=early)
    exact = _problem(bench, dense, args.macs_x, early=False)
    settings = bench.config.search.model_copy(update={"strategy": strategy})
    maker = make_strategy(settings, bench.dense_coupling)
    seconds, energies, accuracies, trials, images = [], [], [], [], []
    for seed in args.seeds:
        written: list[dict[str, Any]] = []
        began = time.perf_counter()
        found = maker.run(problem, args.trials, np.random.default_rng(seed), TrialJournal(append=written.append))
        seconds.append((time.perf_counter() - began) / len(written))
        trials.append(len(written))
        images.append(statistics.mean(record["figures"]["images"] for record in written))
        outcome = exact.evaluate(found.best)
        energies.append(outcome.energy)
        accuracies.append(outcome.figures["accuracy"])
    row = {
        "strategy": strategy,
        "early_rejection": early,
        "trials": statistics.mean(trials),
        "seconds_per_trial": statistics.mean(seconds),
        "search_images_per_trial": statistics.mean(images),
        "best_energy": statistics.mean(energies),
        "best_quick_accuracy": statistics.mean(accuracies),
    }
    if args.memory and not early:
        row["peak_bytes_by_trials"] = {
            str(count): _peak(maker, problem, count) for count in (args.trials // 4, args.trials)
        }
    return row


def _peak(maker: Any, problem: SearchProblem, trials: int) -> int:
    tracemalloc.start()
    maker.run(problem, trials, np.random.default_rng(0), TrialJournal())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def _problem(bench: Workbench, dense: CapturedNetwork, macs_x: float, *, early: bool) -> SearchProblem:
    coupling = find_coupling(dense)
    space = bench.space(dense, coupling)
    settings = bench.config.search
    judge = FastEvaluation(
        dense, coupling, train=bench.train_part, search=bench.search_part, device=bench.device, images=settings.images,
        recalibration_images=settings.recalibration_images, early_rejection=early,
    )  # fmt: skip
    return network_problem(space, Budget(limits={"macs": space.costs()["macs"] / macs_x}), "macs", judge)


if __name__ == "__main__":
    main()
