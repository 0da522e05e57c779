"""Costs that count: what a search estimates is confirmed before anything is built on it."""

import math
from dataclasses import replace

from ..scores import Scores
from ..search.budget import Budget, BudgetError, Costs, Proposal, runs
from ..search.plan_space import PlanSpace
from ..search.problem import OBJECTIVE_WEIGHT
from ..search.trials import Shortlist, Trial

CONFIRMATIONS = 5
FINALISTS = 4
"""Candidates of a search that are measured together before one of them is chosen."""
BATCHES = 4
"""How often a search measures its finalists, the last time at its end."""
BEYOND_BUDGET = 1e6
"""Energy of a finalist that turned out not to hold the budget: behind all that do."""


class Finalists:
    """The best candidates of a search under way, measured together from time to time and before one is chosen.

    What is measured on the way makes estimates of later candidates better, and energies go by what is measured. When
    that happens depends on the number of trials alone: a resumed search knows the same at the same trial.

    Args:
        space: Of the network that is searched.
        budget: Limits of the search.
        objective: The cost that is made small.
        trials: Most trials of the search.
    """

    def __init__(self, space: PlanSpace, budget: Budget, objective: str, trials: int) -> None:
        self._space, self._budget, self._objective = space, budget, objective
        self._every = math.ceil(trials / BATCHES)
        self._dense_cost = space.costs()[objective]
        self._seen = 0
        self._shortlist = Shortlist[Proposal](FINALISTS)

    def add(self, trial: Trial[Proposal]) -> None:
        """Consider a trial."""
        self._shortlist.add(trial)
        self._seen += 1
        if self._seen % self._every == 0:
            self._measure()

    def choose(self) -> Trial[Proposal]:
        """The best of those that hold the budget; where none does, the first one, pruned further.

        Returns:
            A trial whose proposal has confirmed costs.

        Raises:
            BudgetError: As for `confirmed`.
        """
        self._measure()
        best = self._shortlist.trials[0]
        if self._budget.allows(best.candidate.costs):
            return best
        return replace(best, candidate=confirmed(self._space, self._budget, best.candidate))

    def _measure(self) -> None:
        """Confirm the costs of all, and rank them again."""
        trials = self._shortlist.trials
        costs = self._space.confirm(*(trial.candidate.plan for trial in trials))
        self._shortlist = Shortlist[Proposal](FINALISTS)
        for trial, now in zip(trials, costs, strict=True):
            self._shortlist.add(self._ranked(trial, now))

    def _ranked(self, trial: Trial[Proposal], now: Costs) -> Trial[Proposal]:
        """A trial with its confirmed costs; behind all others where it does not hold the budget."""
        then = trial.candidate.costs[self._objective]
        energy = trial.outcome.energy + OBJECTIVE_WEIGHT * (now[self._objective] - then) / self._dense_cost
        outcome = replace(trial.outcome, energy=energy if self._budget.allows(now) else BEYOND_BUDGET)
        return replace(trial, candidate=replace(trial.candidate, costs=now), outcome=outcome)


def confirmed(space: PlanSpace, budget: Budget, proposal: Proposal, scores: Scores | None = None) -> Proposal:
    """Confirm a proposal's costs; where they turn out too high, or a layer does not run, prune along its direction.

    Returns:
        A proposal with confirmed costs; after several attempts they may still be a little over the limits.

    Raises:
        BudgetError: If nothing along this direction fits, or runs.
    """
    for _ in range(CONFIRMATIONS):
        (costs,) = space.confirm(proposal.plan)
        if budget.allows(costs):
            return replace(proposal, costs=costs)
        proposal = budget.project(proposal.action, lambda action: space.priced(action, scores))
    (costs,) = space.confirm(proposal.plan)
    if not runs(costs):
        raise BudgetError(f"no candidate that runs was found: {'; '.join(space.problems(proposal.plan))}")
    return replace(proposal, costs=costs)
