"""Budget: hard limits on a plan's cost, and the projection of an action onto them.

A candidate over the budget is not rejected (at high rates a random search would then loop for ever): its kept shares
are raised to one common power, found by bisection, so that the plan just fits.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..keep_indices import PruningPlan
from .action import Action

Costs = Mapping[str, float]

BISECTIONS = 9
MOST_STRENGTH = 1024.0


class BudgetError(ValueError):
    """No plan of the action space fits the limits."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """An action that fits the budget, with its plan and costs."""

    action: Action
    plan: PruningPlan
    costs: Costs


def runs(costs: Costs) -> bool:
    """Whether a candidate of these costs is not known to fail on the device."""
    return all(math.isfinite(cost) for cost in costs.values())


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Upper limits by kind of cost: `params` and `macs` as counts, `latency` in milliseconds."""

    limits: Mapping[str, float]

    def allows(self, costs: Costs) -> bool:
        """Whether the candidate runs at all (a cost without end says that it does not) and every limit holds."""
        return runs(costs) and all(costs[kind] <= limit for kind, limit in self.limits.items())

    def project(self, action: Action, plan_of: Callable[[Action], tuple[PruningPlan, Costs]]) -> Proposal:
        """Scale `action` to the least pruning along its direction that fits.

        Args:
            action: Any action of the space with at least one ratio above 0.
            plan_of: Gives an action's plan and costs.

        Raises:
            BudgetError: If even the strongest pruning along this direction does not fit.
        """
        low, high, best = 0.0, 1.0, None
        while best is None:
            scaled = action.scaled(high)
            plan, costs = plan_of(scaled)
            if self.allows(costs):
                best = Proposal(action=scaled, plan=plan, costs=costs)
            elif high >= MOST_STRENGTH:
                raise BudgetError(f"limits {dict(self.limits)} cannot be met: the smallest network costs {dict(costs)}")
            else:
                low, high = high, high * 2
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            scaled = action.scaled(middle)
            plan, costs = plan_of(scaled)
            if self.allows(costs):
                best, high = Proposal(action=scaled, plan=plan, costs=costs), middle
            else:
                low = middle
        return best

    def restrict(self, action: Action, plan_of: Callable[[Action], tuple[PruningPlan, Costs]]) -> Proposal:
        """Keep an action that fits as it is; project any other.

        Raises:
            BudgetError: As for `project`.
        """
        plan, costs = plan_of(action)
        if self.allows(costs):
            return Proposal(action=action, plan=plan, costs=costs)
        return self.project(action, plan_of)

    def excess(self, costs: Costs) -> float:
        """How far costs are over the limits: the sum of `log(cost / limit)` over those that do not hold."""
        if not runs(costs):
            return math.inf
        return sum(math.log(costs[kind] / limit) for kind, limit in self.limits.items() if costs[kind] > limit)
