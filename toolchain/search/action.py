"""Action: how much of each layer a candidate removes, and the moves of the search over actions.

An action holds a filter ratio per coupling group and a column ratio per layer, both the share removed in [0, 1); the
column ratio is of the columns that filter pruning leaves.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MIN_RATIO, MAX_RATIO = 0.01, 0.97


@dataclass(frozen=True, kw_only=True)
class Action:
    """Shares removed, in [0, 1): `filter_ratio` by coupling group, `column_ratio` by layer."""

    filter_ratio: Mapping[str, float]
    column_ratio: Mapping[str, float]

    def scaled(self, strength: float) -> "Action":
        """Prune more (`strength` > 1) or less (< 1): each kept share is raised to the power `strength`."""

        def scale(ratio: float) -> float:
            return float(min(MAX_RATIO, 1.0 - (1.0 - ratio) ** strength))

        return Action(
            filter_ratio={name: scale(ratio) for name, ratio in self.filter_ratio.items()},
            column_ratio={name: scale(ratio) for name, ratio in self.column_ratio.items()},
        )

    def to_dict(self) -> dict[str, dict[str, float]]:
        """JSON form."""
        return {"filter_ratio": dict(self.filter_ratio), "column_ratio": dict(self.column_ratio)}


@dataclass(frozen=True, kw_only=True)
class ActionSpace:
    """What may be pruned, and each knob's share of the prior: MACs, or remaining weights (a soft prior on its ratio).

    Attributes:
        group_share: Share of each prunable coupling group, in [0, 1].
        layer_share: The same for each layer whose columns may go.
    """

    group_share: Mapping[str, float]
    layer_share: Mapping[str, float]

    def uniform(self) -> Action:
        """Every ratio equal; the budget sets how large."""
        return Action(
            filter_ratio=dict.fromkeys(self.group_share, 0.3), column_ratio=dict.fromkeys(self.layer_share, 0.3)
        )

    def random(self, rng: np.random.Generator) -> Action:
        """Independent ratios, uniform over all that is allowed."""
        return Action(
            filter_ratio=_random_ratios(self.group_share, rng), column_ratio=_random_ratios(self.layer_share, rng)
        )

    def initial(self, rng: np.random.Generator) -> Action:
        """Random ratios, in the order of the shares: what has more has no lower ratio (AutoCompress, section 3.2)."""
        return Action(
            filter_ratio=_ordered_ratios(self.group_share, rng), column_ratio=_ordered_ratios(self.layer_share, rng)
        )

    def neighbour(self, action: Action, step: float, rng: np.random.Generator) -> Action:
        """Change a random part of the ratios by a normal amount of scale `0.25 * step`."""
        return Action(
            filter_ratio=_moved(action.filter_ratio, step, rng), column_ratio=_moved(action.column_ratio, step, rng)
        )


def _random_ratios(share: Mapping[str, float], rng: np.random.Generator) -> dict[str, float]:
    return {name: float(rng.uniform(MIN_RATIO, MAX_RATIO)) for name in share}


def _ordered_ratios(share: Mapping[str, float], rng: np.random.Generator) -> dict[str, float]:
    names = sorted(share, key=lambda name: (share[name], name))
    ratios = np.sort(rng.uniform(0.1, 0.5, len(names)))
    return {name: float(ratio) for name, ratio in zip(names, ratios, strict=True)}


def _moved(ratios: Mapping[str, float], step: float, rng: np.random.Generator) -> dict[str, float]:
    count = len(ratios)
    chosen = rng.random(count) < max(0.15, 0.5 * step)
    change = rng.normal(0.0, 0.25 * step, count) * chosen
    moved = np.clip(np.fromiter(ratios.values(), float, count) + change, MIN_RATIO, MAX_RATIO)
    return {name: float(ratio) for name, ratio in zip(ratios, moved, strict=True)}
