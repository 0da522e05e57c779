"""Choose the plan of a whole network: which units of each group and which columns of each layer stay.

The score of a unit is ``sum_l rho_l * ||row of W_l||^2`` over the layers that produce it; its consumers' columns do not
count. A column's score is its squared norm over the kept filters. Filters and columns are chosen in turn, each counting
only weights that the other choice leaves, until nothing changes; what keeps most of the (rho-weighted) norm wins. This
is called thousands of times in a search, so squares and index maps are made once, in :class:`Scores`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .capture import CapturedNetwork
from .coupling import Coupling, CouplingGroup, IntArray, LayerInfo
from .keep_indices import PruningPlan, normalize_plan

__all__ = ["Scores", "choose_plan", "top_indices"]

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

MAX_ALTERNATIONS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class _LayerScores:
    """Squared weights of one layer with what a choice needs to know of it.

    Attributes:
        squares: ``(c_out, K)``, times rho.
        row_sums: ``(c_out,)``.
        column_units: Unit read by each stored column, or -1, ``(K,)``.
    """

    info: LayerInfo
    squares: FloatArray
    row_sums: FloatArray
    column_units: IntArray


class Scores:
    """Squared weights of a network, ready for many choices of plans.

    Args:
        coupling: Of the network.
        weights: By layer, ``(c_out, c_in/groups, kh, kw)``, ``(c_out, K)`` for packed columns, or ``(out, in)``; any
            float dtype and device. Layers left out count nothing.
        rho: Weight of each layer in its group's score; 1 where missing.

    Raises:
        ValueError: If a weight does not fit its layer.
    """

    def __init__(
        self, coupling: Coupling, weights: Mapping[str, Tensor], rho: Mapping[str, float] | None = None
    ) -> None:
        self.coupling = coupling
        self.layers = {
            name: _layer_scores(info, weights[name], (rho or {}).get(name, 1.0))
            for name, info in coupling.layers.items()
            if name in weights
        }
        self.must_keep = {group.name: _must_keep(coupling, group) for group in coupling.prunable}


def choose_plan(
    network: CapturedNetwork,
    coupling: Coupling,
    weights: Mapping[str, Tensor] | Scores,
    filter_keep: Mapping[str, int],
    column_keep: Mapping[str, int | float],
    *,
    rho: Mapping[str, float] | None = None,
) -> PruningPlan:
    """Keep the strongest filters and columns of a network.

    Args:
        network: Not read; the coupling says all.
        coupling: Its coupling groups.
        weights: Weights by layer (see :class:`Scores`), folded with batch norm where wanted; or their scores, when
            several plans are chosen from the same weights.
        filter_keep: Units kept by group, in ``1..size``; a group left out keeps all.
        column_keep: Columns kept by layer: a whole number, or a float in (0, 1] for a share of the columns that the
            filter choice leaves. Clipped to what is left, at least 1.
        rho: Weight of each layer in its group's score.

    Returns:
        Normalised plan in this network's indices: filters whose channel no kept column reads are gone, too. Every
        producer keeps at least one filter and every layer one column, even where the counts say less.

    Raises:
        ValueError: If a group or layer may not be pruned or is unknown, or a count is out of range.
    """
    del network
    scores = weights if isinstance(weights, Scores) else Scores(coupling, weights, rho)
    _check_counts(coupling, filter_keep, column_keep)
    rows: Mapping[str, FloatArray] = {name: layer.row_sums for name, layer in scores.layers.items()}
    units = np.ones(0, dtype=np.bool_)
    best: tuple[float, BoolArray, dict[str, BoolArray]] | None = None
    for _ in range(MAX_ALTERNATIONS):
        before, units = units, _choose_units(scores, filter_keep, rows)
        columns = {name: _choose_columns(scores, name, keep, units) for name, keep in column_keep.items()}
        rows = _rows_left(scores, units, columns)
        energy = sum(float(row @ units[scores.layers[name].info.outputs]) for name, row in rows.items())
        if best is None or energy > best[0]:
            best = (energy, units, columns)
        if not filter_keep or np.array_equal(before, units):
            break
    assert best is not None
    return _plan(coupling, filter_keep, best[1], best[2])


def top_indices(scores: npt.NDArray[np.floating], keep: int) -> npt.NDArray[np.int64]:
    """Indices of the ``keep`` largest scores, sorted; ties go to the lowest index."""
    return np.sort(np.argsort(-scores, kind="stable")[:keep])


def _layer_scores(info: LayerInfo, weight: Tensor, rho: float) -> _LayerScores:
    matrix = weight.detach().flatten(1).float().cpu().numpy()
    if matrix.shape != (len(info.outputs), len(info.columns)):
        expected = (len(info.outputs), len(info.columns))
        raise ValueError(f"weight of layer {info.name!r} is a matrix of {matrix.shape}, the layer's is {expected}")
    squares = matrix * matrix
    if rho != 1.0:
        squares *= np.float32(rho)
    return _LayerScores(info=info, squares=squares, row_sums=squares.sum(1), column_units=info.column_units)


def _must_keep(coupling: Coupling, group: CouplingGroup) -> Sequence[IntArray]:
    """Sets of units of which one must stay: each producer's filters, what each packed layer can still read."""
    sets = [np.unique(ref.units) for ref in group.producers]
    start = coupling.offsets[group.name]
    for ref in group.consumers:
        info = coupling.layers[ref.layer]
        readable = np.unique(info.column_units)
        inside = readable[(readable >= start) & (readable < start + group.size)] - np.int32(start)
        if len(info.columns) < info.dense_columns and len(inside) == len(readable):
            sets.append(inside)
    return sorted(sets, key=len)


def _choose_units(scores: Scores, filter_keep: Mapping[str, int], rows: Mapping[str, FloatArray]) -> BoolArray:
    """Units that stay, by the squared norms of their rows."""
    coupling = scores.coupling
    totals = np.zeros(coupling.total_units + 1, dtype=np.float64)
    for name, row in rows.items():
        np.add.at(totals, scores.layers[name].info.outputs, row)
    chosen = np.ones(coupling.total_units + 1, dtype=np.bool_)
    for name, keep in filter_keep.items():
        start, size = coupling.offsets[name], coupling.by_name[name].size
        stay = _strongest(totals[start : start + size], keep, scores.must_keep[name])
        chosen[start : start + size] = False
        chosen[start + stay] = True
    return chosen


def _strongest(totals: npt.NDArray[np.float64], keep: int, must_keep: Sequence[IntArray]) -> npt.NDArray[np.int64]:
    stay = top_indices(totals, keep)
    mask = np.zeros(len(totals), dtype=np.bool_)
    mask[stay] = True
    if all(mask[units].any() for units in must_keep):
        return stay
    forced = np.zeros_like(mask)
    for units in must_keep:
        if not forced[units].any():
            forced[units[np.argmax(totals[units])]] = True
    ranked = np.where(forced, np.inf, totals)
    return top_indices(ranked, max(keep, int(forced.sum())))


def _choose_columns(scores: Scores, name: str, keep: float, units: BoolArray) -> BoolArray:
    layer = scores.layers[name]
    alive = units[layer.column_units]
    left = int(alive.sum())
    count = keep if isinstance(keep, int) else round(keep * left)
    count = min(max(count, 1), max(left, 1))
    rows = units[layer.info.outputs].astype(np.float32)
    # Below every squared norm, so that a column of a removed channel is never chosen.
    totals = np.where(alive, rows @ layer.squares, np.float32(-1.0))
    stay = np.zeros(len(totals), dtype=np.bool_)
    stay[top_indices(totals, count)] = True
    return stay


def _rows_left(scores: Scores, units: BoolArray, columns: Mapping[str, BoolArray]) -> dict[str, FloatArray]:
    """Squared norm of every row over the columns that a choice leaves."""
    rows = {}
    for name, layer in scores.layers.items():
        alive = columns[name] if name in columns else units[layer.column_units]
        rows[name] = layer.row_sums if alive.all() else layer.squares @ alive.astype(np.float32)
    return rows


def _plan(
    coupling: Coupling, filter_keep: Mapping[str, int], units: BoolArray, columns: Mapping[str, BoolArray]
) -> PruningPlan:
    filters = {}
    for name in filter_keep:
        start = coupling.offsets[name]
        stay = units[start : start + coupling.by_name[name].size]
        filters[name] = np.flatnonzero(stay).astype(np.int32)
    keep_columns = {name: coupling.layers[name].columns[stay] for name, stay in columns.items()}
    return normalize_plan(coupling, PruningPlan(keep_filters=filters, keep_columns=keep_columns))


def _check_counts(coupling: Coupling, filter_keep: Mapping[str, int], column_keep: Mapping[str, int | float]) -> None:
    for name, keep in filter_keep.items():
        group = coupling.by_name.get(name)
        if group is None or group.frozen is not None:
            reason = "there is no such coupling group" if group is None else group.frozen
            raise ValueError(f"cannot remove filters of group {name!r}: {reason}")
        if not 1 <= keep <= group.size:
            raise ValueError(f"filters to keep of group {name!r} must be in 1..{group.size}, got {keep}")
    for name, count in column_keep.items():
        if name not in coupling.column_layers:
            raise ValueError(f"cannot remove columns of layer {name!r}: it is not a convolution with groups = 1")
        if count <= 0 or (isinstance(count, float) and count > 1):
            raise ValueError(
                f"columns to keep of {name!r} must be a whole number >= 1 or a share in (0, 1], got {count}"
            )
