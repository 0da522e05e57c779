"""Costs that count: what a search estimates is confirmed before anything is built on it."""

from dataclasses import replace

from ..scores import Scores
from ..search.budget import Budget, BudgetError, Proposal, runs
from ..search.plan_space import PlanSpace

CONFIRMATIONS = 5


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
