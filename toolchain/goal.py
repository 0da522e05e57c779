"""Goals in numbers: the limits that a constraint sets, and how rounds approach them.

Each round multiplies the reducible part of a cost (what lies above its floor, the cost of the smallest network) by the
same factor, so that with R rounds a constraint is reached by R equal steps. For latency the floor matters: launching a
kernel costs the same however small it is.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .config import GoalConfig
from .search.budget import Costs


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Limits by kind of cost, with the dense network's costs and the floor below which nothing can go."""

    limits: Mapping[str, float]
    dense: Costs
    floor: Costs
    round_factor: float
    max_rounds: int

    @property
    def rounds(self) -> int:
        """Rounds that reach every limit in steps of `round_factor`, in larger steps where `max_rounds` are too few."""
        needed = [math.log(1 / self._reduction(kind)) / math.log(self.round_factor) for kind in self.limits]
        return max(1, min(self.max_rounds, math.ceil(max(needed, default=0.0) - 1e-9)))

    def limits_at(self, position: float) -> dict[str, float]:
        """Limits after `position` of the `rounds` steps that meet all constraints; steps may be divided."""
        share = position / self.rounds
        return {kind: self._part(kind, self._reduction(kind) ** share) for kind in self.limits}

    def halved(self, kind: str, position: float) -> dict[str, float]:
        """Limits after `position` steps of `round_factor`, where the accuracy says how far it goes."""
        return {kind: self._part(kind, self.round_factor**-position)}

    def met(self, costs: Costs) -> bool:
        """Whether every limit holds."""
        return all(costs[kind] <= limit * (1 + 1e-9) for kind, limit in self.limits.items())

    def _part(self, kind: str, share: float) -> float:
        return self.floor[kind] + (self.dense[kind] - self.floor[kind]) * share

    def _reduction(self, kind: str) -> float:
        reducible = self.dense[kind] - self.floor[kind]
        share = (self.limits[kind] - self.floor[kind]) / max(reducible, 1e-12)
        return min(1.0, max(share, 1e-6))


def limits_of(goal: GoalConfig, dense: Costs) -> dict[str, float]:
    """Absolute limits of the constraints that a configuration asks for."""
    limits: dict[str, float] = {}
    if goal.params_x is not None:
        limits["params"] = dense["params"] / goal.params_x
    if goal.macs_x is not None:
        limits["macs"] = dense["macs"] / goal.macs_x
    if goal.latency_ms is not None:
        limits["latency"] = goal.latency_ms
    return limits
