"""Costs that count: what a search estimates is confirmed before anything is built on it."""

from dataclasses import replace

from ..scores import Scores
from ..search.budget import Budget, Proposal
from ..search.plan_space import PlanSpace

CONFIRMATIONS = 5


def confirmed(space: PlanSpace, budget: Budget, proposal: Proposal, scores: Scores | None = None) -> Proposal:
    """Confirm a proposal's costs; where they turn out too high, prune more along its direction."""
    for _ in range(CONFIRMATIONS):
        costs = space.confirm(proposal.plan)
        if budget.allows(costs):
            return replace(proposal, costs=costs)
        proposal = budget.project(proposal.action, lambda action: space.priced(action, scores))
    return proposal
