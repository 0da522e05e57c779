"""Rounds of a run: tried, judged by the accuracy that must be kept, thrown away or built on, until the goal is met.

How far a round goes and when rounds end is the controller's decision; what a round does is in `stages`. Every attempt
is a chain of stages under its own name, so a resumed run replays the attempts, the ones thrown away included.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..device.errors import DeviceError
from .capture import CapturedNetwork
from .controller import AccuracyRule, Attempt, Rules, next_attempt
from .equality_chain import EqualityCheck
from .goal import Goal, limits_of
from .keep_indices import PruningPlan
from .search.action import MAX_RATIO, Action
from .search.budget import Budget, BudgetError, runs
from .stages.compact import compact_stage
from .stages.purify import purify_stage
from .stages.retrain import retrain_stage
from .stages.search import search_stage
from .stages.solver import solver_stage
from .workbench import State, Workbench


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """What the rounds led to; `final` is the record of the last retraining, `rounds` one row an attempt."""

    state: State
    final: dict[str, Any]
    goal: Goal
    rounds: tuple[dict[str, Any], ...]
    checks: tuple[EqualityCheck, ...]


class Compression:
    """The rounds of one run.

    Args:
        bench: What every stage works with.
        dense: The network to compress, trained.
        reference: Accuracy in percent on the search part that a drop is taken against.
    """

    def __init__(self, bench: Workbench, dense: CapturedNetwork, reference: float) -> None:
        self._bench = bench
        self._dense = dense
        self._goal = make_goal(bench, dense)
        self._rules = make_rules(bench, self._goal, reference)
        self._checks: list[EqualityCheck] = []
        self._rows: list[dict[str, Any]] = []

    def run(self) -> Compressed:
        """Do the rounds and the final retraining."""
        state = State(network=self._dense, plan=PruningPlan())
        tried: list[Attempt] = []
        kept: float | None = None
        attempt = next_attempt(self._rules, tried)
        while attempt is not None:
            found = self._try(attempt, state)
            judged = self._judged(attempt, found)
            tried.append(judged)
            if found is not None:
                self._rows.append(self._row(judged, found[0]))
            if found is not None and judged.accepted:
                state, kept = found[0], judged.accuracy
            attempt = next_attempt(self._rules, tried)
            if not judged.accepted:
                self._explain(judged, again=attempt is not None)
        state, final = self._finish(state, kept)
        return Compressed(
            state=state, final=final, goal=self._goal, rounds=tuple(self._rows), checks=tuple(self._checks)
        )

    def _try(self, attempt: Attempt, state: State) -> tuple[State, float | None] | None:
        """One attempt, with its accuracy where it is judged; None where its limits cannot be met."""
        bench, name = self._bench, attempt.name
        objective = bench.config.goal.objective
        budget = Budget(limits=self._limits(attempt))
        try:
            found = search_stage(bench, f"{name} search", state.network, budget, objective)
            solver = f"{name} {bench.config.prune.solver}"
            trained, plan = solver_stage(bench, solver, state.network, found.action, budget)
        except BudgetError as error:
            bench.progress.warn(f"{name}: {error}")
            return None
        accuracy = self._rules.accuracy
        met = accuracy is None and attempt.position == self._rules.end
        # Where a cost is asked for and met, what purification would still remove is worth more as accuracy.
        if bench.config.prune.purify and bench.config.prune.purify_trials and not met:
            plan = purify_stage(bench, f"{name} purify", trained, plan, budget)
        smaller, check = compact_stage(bench, f"{name} compact", state, trained, plan)
        self._checks.append(check)
        if met:
            return smaller, None  # the final retraining comes at once
        epochs = bench.config.train.retrain_epochs + self._spared_epochs
        retrained, result = retrain_stage(bench, f"{name} retrain", smaller, epochs)
        if accuracy is not None and not accuracy.keeps(result["search_accuracy_top1"]):
            # Retraining is short; a second one costs less than giving the round up.
            retrained, result = retrain_stage(bench, f"{name} retrain again", retrained, epochs)
        return retrained, result["search_accuracy_top1"]

    @property
    def _spared_epochs(self) -> int:
        """Epochs a round that pruning at once leaves for retraining."""
        prune = self._bench.config.prune
        return prune.admm_epochs if prune.solver == "magnitude" else 0

    def _limits(self, attempt: Attempt) -> Mapping[str, float]:
        if self._rules.end is not None:
            return self._goal.limits_at(attempt.position)
        return self._goal.halved(self._bench.config.goal.objective, attempt.position)

    def _judged(self, attempt: Attempt, found: tuple[State, float | None] | None) -> Attempt:
        if found is None:
            return replace(attempt, accepted=False)
        rule = self._rules.accuracy
        return replace(attempt, accuracy=found[1], accepted=rule is None or rule.keeps(found[1]))

    def _explain(self, missed: Attempt, *, again: bool) -> None:
        rule = self._rules.accuracy
        if rule is None:
            return
        lost = "cannot be made that small"
        if missed.accuracy is not None:
            lost = f"loses {rule.reference - missed.accuracy:.2f} points on the search part, more than {rule.budget:g}"
        then = "tried again with half the step" if again else "the round before it is the result"
        self._bench.progress.note(f"{missed.name} {lost}: {then}")

    def _finish(self, state: State, kept: float | None) -> tuple[State, dict[str, Any]]:
        """Retrain for the last time; where that loses what the round had kept, the round's own network stays."""
        rule, epochs = self._rules.accuracy, self._bench.config.train.final_epochs
        if rule is None:  # the last round went on to here at once
            epochs += self._spared_epochs
        retrained, final = retrain_stage(self._bench, "final", state, epochs)
        if rule is None or kept is None or rule.keeps(final["search_accuracy_top1"]) or not rule.keeps(kept):
            return retrained, dict(final)
        self._bench.progress.note(
            f"the final retraining ends at {final['search_accuracy_top1']:.2f} % on the search part, too low; the "
            f"network before it keeps {kept:.2f} % and is the result"
        )
        return state, {**final, "search_accuracy_top1": kept}

    def _row(self, attempt: Attempt, state: State) -> dict[str, Any]:
        costs = self._bench.costs(state.network)
        self._bench.check_prediction(attempt.name, costs["latency"], lambda: state.network)
        return {
            "round": attempt.name if attempt.retry else attempt.round,
            "macs": costs["macs"],
            "params": costs["params"],
            "latency_ms": costs["latency"],
            "search_accuracy_top1": attempt.accuracy,
            "accepted": bool(attempt.accepted),
        }


def make_goal(bench: Workbench, dense: CapturedNetwork) -> Goal:
    """The limits of a run's configuration, with what the dense and the smallest network cost."""
    config = bench.config
    space = bench.space(dense, bench.dense_coupling)
    (costs,) = space.confirm(PruningPlan())
    if not runs(costs):
        problems = "\n  ".join(space.problems(PruningPlan()))
        raise DeviceError(
            f"{config.goal.device} cannot run the dense network, choose another --target or --precision:\n  {problems}"
        )
    bench.check_prediction("dense network", costs["latency"], lambda: dense)
    strongest = Action(
        filter_ratio=dict.fromkeys(space.actions.group_share, MAX_RATIO),
        column_ratio=dict.fromkeys(space.actions.layer_share, MAX_RATIO),
    )
    return Goal(
        limits=limits_of(config.goal, costs),
        dense=costs,
        # Params and MACs can be divided as asked; of latency, launching the kernels always stays.
        floor={"params": 0.0, "macs": 0.0, "latency": space.priced(strongest)[1]["latency"]},
        round_factor=config.prune.round_factor,
        max_rounds=config.prune.max_rounds,
    )


def make_rules(bench: Workbench, goal: Goal, reference: float) -> Rules:
    """What the controller goes by."""
    budget, prune = bench.config.goal.accuracy_budget, bench.config.prune
    accuracy = None if budget is None else AccuracyRule(reference=reference, budget=budget)
    spare = prune.max_back_offs if accuracy is not None else 0
    return Rules(
        accuracy=accuracy,
        end=float(goal.rounds) if goal.limits else None,
        max_attempts=goal.rounds + spare if goal.limits else prune.max_rounds,
        max_back_offs=prune.max_back_offs,
    )
