"""The search stage: how much of each layer to prune."""

from typing import Any

import numpy as np

from ..capture import CapturedNetwork
from ..compaction import compact
from ..coupling import find_coupling
from ..search.action import Action
from ..search.budget import Budget, Proposal
from ..search.problem import SearchProblem, network_problem
from ..search.strategies import make_strategy
from ..search.strategy import affordable_trials
from ..search.trials import TrialJournal
from ..workbench import Workbench
from .confirmation import Finalists


def search_stage(bench: Workbench, stage: str, network: CapturedNetwork, budget: Budget, objective: str) -> Proposal:
    """Find the action that keeps most accuracy under `budget`."""
    coupling = find_coupling(network)
    space = bench.space(network, coupling)
    done = bench.result(stage)
    if done is not None:
        action = Action(**done["action"])
        plan, costs = space.priced(action)
        return Proposal(action=action, plan=plan, costs=costs)
    strategy = make_strategy(bench.config.search, bench.dense_coupling)
    problem = network_problem(space, budget, objective, bench.fast_evaluation(network, coupling))
    trials = allowed_trials(bench, stage, problem)
    with bench.progress.stage(stage, total=trials, unit="trials") as bar:

        def record(trial: dict[str, Any]) -> None:
            bench.folder.trials.append({"stage": stage, **trial})
            bar.advance(1, f"accuracy {trial['figures']['accuracy']:.1f} %")

        finalists = Finalists(space, budget, objective, trials)
        journal = TrialJournal(replay=bench.folder.trials_of(stage), append=record, on_trial=finalists.add)
        result = strategy.run(problem, trials, np.random.default_rng(bench.seed_of(stage)), journal)
        best = finalists.choose()
        bar.say(f"best {best.outcome.figures['accuracy']:.1f} % before any retraining")
    found = best.candidate
    bench.check_prediction(stage, found.costs["latency"], lambda: compact(network, coupling, found.plan))
    record_of = {"action": found.action.to_dict(), "costs": dict(found.costs), "figures": best.outcome.figures}
    if result.front:
        record_of["pareto"] = [point.to_dict() for point in result.front]
    bench.folder.finish(stage, record_of)
    return found


def allowed_trials(bench: Workbench, stage: str, problem: SearchProblem) -> int:
    """Trials of a search; a time budget is turned into trials once, and journalled for a resumed run."""
    seconds = bench.config.search.seconds
    if seconds is None:
        return bench.config.search.trials
    for event in bench.folder.events:
        if event.get("event") == "time budget" and event["stage"] == stage:
            return int(event["trials"])
    trials = affordable_trials(problem, seconds, bench.seed_of(f"{stage} pace"))
    bench.folder.events.append({"event": "time budget", "stage": stage, "seconds": seconds, "trials": trials})
    return trials
