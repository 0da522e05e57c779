"""Choose the plan of a whole network: which units of each group and which columns of each layer stay.

The score of a unit is ``sum_l rho_l * ||row of W_l||^2`` over the layers that produce it; its consumers' columns do not
count. The score of a block of columns is its squared norm over the kept filters. Filters and columns are chosen in
turn, each counting only weights that the other choice leaves, until nothing changes; this starts once from the filters
and once from the columns, and what keeps most of the (rho-weighted) norm wins. It is called thousands of times in a
search, so squares and index maps are made once, in :class:`Scores`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .capture import CapturedNetwork
from .coupling import Coupling, CouplingGroup, IntArray, LayerInfo
from .granularity import ColumnGranularity
from .keep_indices import Kept, PruningPlan, normalize_plan, resolve_plan
from .projection import SINGLE_COLUMNS, column_blocks, top_mask

__all__ = ["Scores", "choose_plan"]

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

MAX_ALTERNATIONS = 6
MAX_SETTLINGS = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class _LayerScores:
    """Squared weights of one layer with what a choice needs to know of it.

    Attributes:
        squares: ``(c_out, K)``, times rho.
        row_sums: ``(c_out,)``.
        column_units: Unit read by each stored column, or -1, ``(K,)``.
        channels: Input channel of each stored column, ``(K,)``.
        positions: Kernel position of each stored column, ``(K,)``.
    """

    info: LayerInfo
    squares: FloatArray
    row_sums: FloatArray
    column_units: IntArray
    channels: IntArray
    positions: IntArray

    def blocks(self, blocks: ColumnGranularity, units: BoolArray) -> npt.NDArray[np.int64]:
        """Block of each stored column, ``(K,)``, where these units stay; of columns that go, any valid number."""
        ranks = np.maximum(np.cumsum(units[self.info.inputs]) - 1, 0)
        return column_blocks(blocks, ranks[self.channels], self.positions, self.info.kernel_area)


class _Choice(NamedTuple):
    """What stays: units, and stored columns by layer; `energy` is the squared norm kept."""

    energy: float
    units: BoolArray
    columns: Mapping[str, BoolArray]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Request:
    """What is asked of a choice (see :func:`choose_plan`)."""

    filter_keep: Mapping[str, int]
    column_keep: Mapping[str, int | float]
    blocks: ColumnGranularity


class Scores:
    """Squared weights of a network, ready for many choices of plans.

    Args:
        coupling: Of the network.
        weights: By layer, ``(c_out, c_in/groups, kh, kw)``, ``(c_out, K)`` for packed columns, or ``(out, in)``; any
            float dtype and device. Layers left out count nothing.
        rho: Weight of each layer in its group's score; 1 where missing.
        within: Choices are made among what this plan keeps: the rest counts nothing.

    Raises:
        ValueError: If a weight does not fit its layer, or the plan not the network.
    """

    def __init__(
        self,
        coupling: Coupling,
        weights: Mapping[str, Tensor],
        rho: Mapping[str, float] | None = None,
        *,
        within: PruningPlan | None = None,
    ) -> None:
        self.coupling = coupling
        kept = None if within is None else resolve_plan(coupling, within)
        self.units = np.ones(coupling.total_units + 1, dtype=np.bool_) if kept is None else kept.units
        self.layers = {
            name: _layer_scores(info, weights[name], (rho or {}).get(name, 1.0), kept)
            for name, info in coupling.layers.items()
            if name in weights
        }
        self.must_keep = {group.name: _must_keep(coupling, group) for group in coupling.prunable}

    def unit_norms(self, group: str) -> npt.NDArray[np.float64]:
        """Squared norm of every unit of a group over its producers, ``(size,)``."""
        start = self.coupling.offsets[group]
        totals = _unit_totals(self, {name: layer.row_sums for name, layer in self.layers.items()})
        return totals[start : start + self.coupling.by_name[group].size]

    def block_norms(self, layer: str, blocks: ColumnGranularity) -> npt.NDArray[np.float64]:
        """Squared norm of every block of columns of a layer, of channels that may stay, ``(blocks,)``."""
        own = self.layers[layer]
        alive = self.units[own.column_units]
        totals = own.squares.sum(0)[alive]
        labels = own.blocks(blocks, self.units)[alive]
        return np.asarray(np.bincount(labels, weights=totals)[np.unique(labels)], dtype=np.float64)


def choose_plan(
    network: CapturedNetwork,
    coupling: Coupling,
    weights: Mapping[str, Tensor] | Scores,
    filter_keep: Mapping[str, int],
    column_keep: Mapping[str, int | float],
    *,
    rho: Mapping[str, float] | None = None,
    blocks: ColumnGranularity = SINGLE_COLUMNS,
) -> PruningPlan:
    """Keep the strongest filters and columns of a network.

    Args:
        network: Not read; the coupling says all.
        coupling: Its coupling groups.
        weights: Weights by layer (see :class:`Scores`), folded with batch norm where wanted; or their scores, when
            several plans are chosen from the same weights.
        filter_keep: Units kept by group, in ``1..size``; a group left out keeps all.
        column_keep: Blocks of columns kept by layer: a whole number, or a float in (0, 1] for a share of the blocks
            that the filter choice leaves. Clipped to what is left, at least 1.
        rho: Weight of each layer in its group's score.
        blocks: What is removed in one piece of columns. Blocks of several channels count the channels that stay, so
            that in the compact network they are whole (see ``granularity``).

    Returns:
        Normalised plan in this network's indices: filters whose channel no kept column reads are gone, too. Every
        producer keeps at least one filter and every layer one column, even where the counts say less.

    Raises:
        ValueError: If a group or layer may not be pruned or is unknown, or a count is out of range.
    """
    del network
    scores = weights if isinstance(weights, Scores) else Scores(coupling, weights, rho)
    _check_counts(coupling, filter_keep, column_keep)
    request = _Request(filter_keep=filter_keep, column_keep=column_keep, blocks=blocks)
    best = max((_alternate(scores, request, rows) for rows in _starts(scores, request)), key=lambda found: found.energy)
    return _settled(scores, request, best)


def _starts(scores: Scores, request: _Request) -> list[Mapping[str, FloatArray]]:
    """Squared norms of rows that the first choice of filters sees: of whole rows, and of what columns alone leave."""
    whole: Mapping[str, FloatArray] = {name: layer.row_sums for name, layer in scores.layers.items()}
    if not (request.filter_keep and request.column_keep):
        return [whole]
    return [whole, _rows_left(scores, scores.units, _choose_all_columns(scores, request, scores.units))]


def _alternate(scores: Scores, request: _Request, rows: Mapping[str, FloatArray]) -> _Choice:
    units = np.ones(0, dtype=np.bool_)
    best: _Choice | None = None
    for _ in range(MAX_ALTERNATIONS):
        before, units = units, _choose_units(scores, request.filter_keep, rows)
        if np.array_equal(before, units):
            break
        columns = _choose_all_columns(scores, request, units)
        rows = _rows_left(scores, units, columns)
        energy = sum(float(row @ units[scores.layers[name].info.outputs]) for name, row in rows.items())
        if best is None or energy > best.energy:
            best = _Choice(energy, units, columns)
        if not request.filter_keep:
            break
    assert best is not None
    return best


def _settled(scores: Scores, request: _Request, choice: _Choice) -> PruningPlan:
    """The plan of a choice, with blocks that are whole among the channels that really stay.

    A plan's normal form also drops units that no column reads. That shifts the channels after them, so blocks of
    several channels are then chosen again, as many as before, until no unit goes any more.
    """
    units, columns = choice.units, choice.columns
    plan = _plan(scores.coupling, units, columns)
    if request.blocks.channels == 1 or not columns:
        return plan
    counts = {
        name: len(np.unique(scores.layers[name].blocks(request.blocks, units)[stay])) for name, stay in columns.items()
    }
    again = _Request(filter_keep=request.filter_keep, column_keep=counts, blocks=request.blocks)
    for _ in range(MAX_SETTLINGS):
        left = _planned_units(scores.coupling, plan)
        if np.array_equal(left, units):
            break
        units = left
        plan = _plan(scores.coupling, units, _choose_all_columns(scores, again, units))
    return plan


def _layer_scores(info: LayerInfo, weight: Tensor, rho: float, kept: Kept | None) -> _LayerScores:
    matrix = weight.detach().flatten(1).float().cpu().numpy()
    if matrix.shape != (len(info.outputs), len(info.columns)):
        expected = (len(info.outputs), len(info.columns))
        raise ValueError(f"weight of layer {info.name!r} is a matrix of {matrix.shape}, the layer's is {expected}")
    squares = matrix * matrix
    if rho != 1.0:
        squares *= np.float32(rho)
    if kept is not None:
        squares[~kept.filters(info.name)] = 0.0
        squares[:, ~np.isin(info.columns, kept.columns(info.name), assume_unique=True)] = 0.0
    return _LayerScores(
        info=info,
        squares=squares,
        row_sums=squares.sum(1),
        column_units=info.column_units,
        channels=info.columns // info.kernel_area,
        positions=info.columns % info.kernel_area,
    )


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


def _unit_totals(scores: Scores, rows: Mapping[str, FloatArray]) -> npt.NDArray[np.float64]:
    """Squared norm of every unit over its producers; one entry more for filters of no group."""
    totals = np.zeros(scores.coupling.total_units + 1, dtype=np.float64)
    for name, row in rows.items():
        np.add.at(totals, scores.layers[name].info.outputs, row)
    return totals


def _choose_units(scores: Scores, filter_keep: Mapping[str, int], rows: Mapping[str, FloatArray]) -> BoolArray:
    """Units that stay, by the squared norms of their rows."""
    coupling = scores.coupling
    totals = _unit_totals(scores, rows)
    totals[~scores.units] = -1.0  # below every squared norm
    chosen = scores.units.copy()
    for name, keep in filter_keep.items():
        part = slice(coupling.offsets[name], coupling.offsets[name] + coupling.by_name[name].size)
        chosen[part] &= _strongest(totals[part], keep, scores.must_keep[name])
    return chosen


def _strongest(totals: npt.NDArray[np.float64], keep: int, must_keep: Sequence[IntArray]) -> BoolArray:
    mask = top_mask(totals, keep)
    if all(mask[units].any() for units in must_keep):
        return mask
    forced = np.zeros_like(mask)
    for units in must_keep:
        if not forced[units].any():
            forced[units[np.argmax(totals[units])]] = True
    return top_mask(np.where(forced, np.inf, totals), max(keep, int(forced.sum())))


def _choose_all_columns(scores: Scores, request: _Request, units: BoolArray) -> dict[str, BoolArray]:
    return {
        name: _choose_columns(scores.layers[name], keep, units, request.blocks)
        for name, keep in request.column_keep.items()
    }


def _choose_columns(layer: _LayerScores, keep: float, units: BoolArray, blocks: ColumnGranularity) -> BoolArray:
    alive = units[layer.column_units]
    totals = units[layer.info.outputs].astype(np.float32) @ layer.squares
    if not alive.any():  # every channel goes: the normal form brings one back for this column
        return np.asarray(np.arange(len(alive)) == int(np.argmax(totals)))
    if blocks == SINGLE_COLUMNS:
        totals[~alive] = -1.0  # below every squared norm
        return top_mask(totals, _count(keep, int(np.count_nonzero(alive))))
    labels = layer.blocks(blocks, units)
    inside, size = labels[alive], int(labels.max()) + 1
    sums = np.asarray(np.bincount(inside, weights=totals[alive], minlength=size), dtype=np.float64)
    present = np.bincount(inside, minlength=size) > 0
    sums[~present] = -1.0
    return np.asarray(top_mask(sums, _count(keep, int(np.count_nonzero(present))))[labels] & alive)


def _count(keep: float, left: int) -> int:
    count = keep if isinstance(keep, int) else round(keep * left)
    return min(max(count, 1), left)


def _rows_left(scores: Scores, units: BoolArray, columns: Mapping[str, BoolArray]) -> dict[str, FloatArray]:
    """Squared norm of every row over the columns that a choice leaves."""
    rows = {}
    for name, layer in scores.layers.items():
        alive = columns[name] if name in columns else units[layer.column_units]
        rows[name] = layer.row_sums if alive.all() else layer.squares @ alive.astype(np.float32)
    return rows


def _plan(coupling: Coupling, units: BoolArray, columns: Mapping[str, BoolArray]) -> PruningPlan:
    filters = {}
    for group in coupling.prunable:
        start = coupling.offsets[group.name]
        filters[group.name] = np.flatnonzero(units[start : start + group.size]).astype(np.int32)
    keep_columns = {name: coupling.layers[name].columns[stay] for name, stay in columns.items()}
    return normalize_plan(coupling, PruningPlan(keep_filters=filters, keep_columns=keep_columns))


def _planned_units(coupling: Coupling, plan: PruningPlan) -> BoolArray:
    """Units that a normalised plan keeps."""
    units = np.ones(coupling.total_units + 1, dtype=np.bool_)
    for name, keep in plan.keep_filters.items():
        start = coupling.offsets[name]
        units[start : start + coupling.by_name[name].size] = False
        units[start + keep] = True
    return units


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
