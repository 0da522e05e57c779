"""Purification (AutoCompress phase II): remove what ADMM left nearly zero.

ADMM leaves many small filters and columns inside the kept set. Per-layer thresholds on their L2 norms, relative to the
layer's median, are searched with the same annealing driver for the largest reduction that costs no accuracy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .coupling import Coupling, CouplingGroup, IntArray, LayerInfo
from .keep_indices import Kept, PruningPlan, resolve_plan
from .search.action import ActionSpace
from .search.trials import Outcome

FloatArray = npt.NDArray[np.float64]

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
        actions: The groups and layers that may be pruned.
    """

    def __init__(
        self, coupling: Coupling, plan: PruningPlan, weights: Mapping[str, torch.Tensor], actions: ActionSpace
    ) -> None:
        kept = resolve_plan(coupling, plan)
        self._filters = {name: _kept_units(kept, name) for name in actions.group_share}
        self._columns = {name: kept.columns(name) for name in actions.layer_share}
        self._filter_norms = {
            name: _filter_norms(coupling.by_name[name], keep, weights) for name, keep in self._filters.items()
        }
        self._column_norms = {
            name: _column_norms(coupling.layers[name], keep, weights[name]) for name, keep in self._columns.items()
        }

    def first(self) -> Thresholds:
        """Equal thresholds for everything that may be pruned."""
        return Thresholds(
            filters=dict.fromkeys(self._filter_norms, FIRST_THRESHOLD),
            columns=dict.fromkeys(self._column_norms, FIRST_THRESHOLD),
        )

    def plan(self, thresholds: Thresholds) -> PruningPlan:
        """The plan without what lies under `thresholds`; each group and layer keeps its strongest at least."""
        filters = {
            name: _above(self._filters[name], self._filter_norms[name], threshold)
            for name, threshold in thresholds.filters.items()
        }
        columns = {
            name: _above(self._columns[name], self._column_norms[name], threshold)
            for name, threshold in thresholds.columns.items()
        }
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


def _kept_units(kept: Kept, group: str) -> IntArray:
    start = kept.coupling.offsets[group]
    return np.flatnonzero(kept.units[start : start + kept.coupling.by_name[group].size]).astype(np.int32)


def _above(kept: IntArray, norms: FloatArray, threshold: float) -> IntArray:
    stay = norms >= min(threshold * float(np.median(norms)), float(norms.max()))
    return np.asarray(kept[stay], dtype=np.int32)


def _filter_norms(group: CouplingGroup, kept: IntArray, weights: Mapping[str, torch.Tensor]) -> FloatArray:
    squares = np.zeros(group.size)
    for ref in group.producers:
        rows = weights[ref.layer].flatten(1).square().sum(1).double().cpu().numpy()
        np.add.at(squares, ref.units, rows[ref.positions])
    return np.asarray(np.sqrt(squares[kept]))


def _column_norms(layer: LayerInfo, kept: IntArray, weight: torch.Tensor) -> FloatArray:
    squares = weight.flatten(1).square().sum(0).double().cpu().numpy()
    # A compact layer stores some of its dense columns only; `kept` counts dense ones.
    return np.asarray(np.sqrt(squares[np.searchsorted(layer.columns, kept)]))
