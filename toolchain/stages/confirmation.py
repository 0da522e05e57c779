"""Costs that count: what a search estimates is confirmed before anything is built on it."""

from collections.abc import Sequence
from dataclasses import replace

from ..scores import Scores
from ..search.budget import Budget, BudgetError, Proposal, runs
from ..search.plan_space import PlanSpace
from ..search.problem import OBJECTIVE_WEIGHT
from ..search.trials import Trial

CONFIRMATIONS = 5
FINALISTS = 4
"""Candidates of a search that are measured together before one of them is chosen."""


def chosen(space: PlanSpace, budget: Budget, objective: str, finalists: Sequence[Trial[Proposal]]) -> Trial[Proposal]:
    """Confirm the costs of a search's best candidates and return the best of those that hold the budget.

    Args:
        space: Of the network that was searched.
        budget: Limits of the search.
        objective: The cost that is made small; estimated costs in the energies give way to confirmed ones.
        finalists: Trials of least energy, the best first, at least one.

    Returns:
        A trial whose proposal has confirmed costs; where no finalist holds the budget, the first one, pruned further.

    Raises:
        BudgetError: As for `confirmed`.
    """
    dense_cost = space.costs()[objective]
    costs = space.confirm(*(trial.candidate.plan for trial in finalists))
    found = [
        (
            trial.outcome.energy + OBJECTIVE_WEIGHT * (now[objective] - trial.candidate.costs[objective]) / dense_cost,
            now,
        )
        for trial, now in zip(finalists, costs, strict=True)
    ]
    fitting = [index for index, (_, now) in enumerate(found) if budget.allows(now)]
    if not fitting:
        return replace(finalists[0], candidate=confirmed(space, budget, finalists[0].candidate))
    best = min(fitting, key=lambda index: found[index][0])
    trial = finalists[best]
    return replace(trial, candidate=replace(trial.candidate, costs=costs[best]))


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
