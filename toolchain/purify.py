"""Purification (AutoCompress phase II): remove what ADMM left nearly zero.

ADMM leaves many small filters and columns inside the kept set. Per-layer thresholds on their L2 norms, relative to the
layer's median, are searched with the same annealing driver for the largest reduction that costs no accuracy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from .coupling import Coupling
from .plan import PruningPlan
from .search.annealing import Outcome

FIRST_THRESHOLD = 0.1
PENALTY_PER_POINT = 10.0


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Norms below `threshold * median` go: by coupling group for filters, by layer for columns."""

    filters: Mapping[str, float]
    columns: Mapping[str, float]

    def moved(self, step: float, rng: np.random.Generator) -> "Thresholds":
        """Multiply each threshold by a log-normal factor of scale `step`."""

        def move(values: Mapping[str, float]) -> dict[str, float]:
            factors = np.exp(rng.normal(0.0, step, len(values)))
            return {name: float(value * f) for (name, value), f in zip(values.items(), factors, strict=True)}

        return Thresholds(filters=move(self.filters), columns=move(self.columns))


class Purification:
    """Plans that remove, from what a plan keeps, everything under thresholds.

    Args:
        coupling: Coupling groups of the network that the plan refers to.
        plan: What hard pruning keeps.
        weights: Weights by layer, batch-norm folded, `(c_out, columns)` after flattening.
    """

    def __init__(self, coupling: Coupling, plan: PruningPlan, weights: Mapping[str, torch.Tensor]) -> None:
        self._plan = plan
        self._filter_norms = _filter_norms(coupling, plan, weights)
        self._column_norms = _column_norms(coupling, plan, weights)

    def first(self) -> Thresholds:
        """Equal thresholds for everything that was pruned."""
        return Thresholds(
            filters=dict.fromkeys(self._filter_norms, FIRST_THRESHOLD),
            columns=dict.fromkeys(self._column_norms, FIRST_THRESHOLD),
        )

    def plan(self, thresholds: Thresholds) -> PruningPlan:
        """The plan without what lies under `thresholds`; each group and layer keeps its strongest at least."""
        filters, columns = dict(self._plan.keep_filters), dict(self._plan.keep_columns)
        for name, threshold in thresholds.filters.items():
            filters[name] = _above(filters[name], self._filter_norms[name], threshold)
        for name, threshold in thresholds.columns.items():
            columns[name] = _above(columns[name], self._column_norms[name], threshold)
        return PruningPlan(keep_filters=filters, keep_columns=columns)


def purification_outcome(
    cost_share: float, accuracy: float, accuracy_before: float, tolerance: float, figures: dict[str, float]
) -> Outcome:
    """Energy of thresholds: the share of the cost that is left, and a steep price for accuracy lost.

    Args:
        cost_share: Cost over the cost before purification.
        accuracy: Quick accuracy in percent.
        accuracy_before: The same before purification.
        tolerance: Points that count as no loss.
        figures: For the journal.
    """
    lost = max(0.0, accuracy_before - accuracy - tolerance)
    return Outcome(energy=cost_share + PENALTY_PER_POINT * lost, figures=figures)


def _above(kept: np.ndarray, norms: np.ndarray, threshold: float) -> np.ndarray:
    stay = norms >= min(threshold * float(np.median(norms)), float(norms.max()))
    return np.asarray(kept[stay], dtype=np.int32)


def _filter_norms(
    coupling: Coupling, plan: PruningPlan, weights: Mapping[str, torch.Tensor]
) -> dict[str, np.ndarray]:
    norms = {}
    for group in coupling.groups:
        if group.name not in plan.keep_filters:
            continue
        squares = np.zeros(group.size)
        for ref in group.producers:
            rows = weights[ref.layer].flatten(1).square().sum(1).double().cpu().numpy()
            np.add.at(squares, ref.units, rows[ref.positions])
        norms[group.name] = np.sqrt(squares[plan.keep_filters[group.name]])
    return norms


def _column_norms(
    coupling: Coupling, plan: PruningPlan, weights: Mapping[str, torch.Tensor]
) -> dict[str, np.ndarray]:
    norms = {}
    for name, kept in plan.keep_columns.items():
        columns = weights[name].flatten(1).square().sum(0).double().cpu().numpy()
        norms[name] = np.sqrt(columns[kept])
    return norms


