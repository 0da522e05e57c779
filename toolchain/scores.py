"""Scores of filters and columns: squared weights of a network with the index maps that a choice of plans needs.

Made once per network and set of weights; ``plan_choice`` then chooses thousands of plans from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .coupling import Coupling, CouplingGroup, IntArray, LayerInfo
from .granularity import ColumnGranularity
from .keep_indices import Kept, PruningPlan, resolve_plan
from .projection import column_blocks, top_mask

__all__ = ["LayerChoice", "LayerScores", "Scores"]

BoolArray: TypeAlias = npt.NDArray[np.bool_]
DoubleArray: TypeAlias = npt.NDArray[np.float64]
FloatArray: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerScores:
    """Squared weights of one layer with what a choice needs to know of it.

    Attributes:
        squares: ``(c_out, K)``, times rho.
        row_sums: ``(c_out,)``.
        column_sums: ``(K,)``.
        column_units: Unit read by each stored column, or -1, ``(K,)``.
        channels: Input channel of each stored column, ``(K,)``.
        positions: Kernel position of each stored column, ``(K,)``.
        distinct_outputs: Whether no two filters are the same unit.
        distinct_inputs: Whether no two input channels are the same unit.
    """

    info: LayerInfo
    squares: FloatArray
    row_sums: FloatArray
    column_sums: FloatArray
    column_units: IntArray
    channels: IntArray
    positions: IntArray
    distinct_outputs: bool
    distinct_inputs: bool

    @property
    def reads_units(self) -> bool:
        """Whether removing an input channel removes columns: not in depthwise and grouped convolutions."""
        return self.info.kind in ("conv", "linear")

    def whole(self) -> LayerChoice:
        """The choice that keeps everything."""
        everything = np.ones(len(self.channels), dtype=np.bool_)
        return LayerChoice(layer=self, columns=None, stay=everything, counted=everything, totals=self.column_sums)

    def blocks(self, blocks: ColumnGranularity, units: BoolArray) -> npt.NDArray[np.int64]:
        """Block of each stored column, ``(K,)``, where these units stay; of columns that go, any valid number."""
        ranks = np.maximum(np.cumsum(units[self.info.inputs]) - 1, 0)
        return column_blocks(blocks, ranks[self.channels], self.positions, self.info.kernel_area)


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerChoice:
    """What stays of one layer.

    Attributes:
        columns: Which stored columns stay, ``(K,)``; None where they are not chosen.
        stay: The same, or the columns of channels that stay.
        counted: Those, and of channels that go the columns that would stay.
        totals: Squared norm of each column over the rows that stay.
    """

    layer: LayerScores
    columns: BoolArray | None
    stay: BoolArray
    counted: BoolArray
    totals: FloatArray

    @cached_property
    def energy(self) -> float:
        """Squared norm of all that stays."""
        return float(self.totals @ self.stay)

    @cached_property
    def rows(self) -> FloatArray:
        """Squared norm of each row, those that go, too, over the columns that stay, ``(c_out,)``."""
        if self.stay.all():
            return self.layer.row_sums
        return np.asarray(self.layer.squares @ self.stay.astype(np.float32))

    @cached_property
    def readers(self) -> DoubleArray:
        """Squared norm of the columns that read each input channel, over the rows that stay, ``(c_in,)``."""
        counted = self.totals * self.counted
        sums = np.bincount(self.layer.channels, weights=counted, minlength=len(self.layer.info.inputs))
        return sums.astype(np.float64, copy=False)


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
        self.unit_totals = self.totals_of({name: layer.whole() for name, layer in self.layers.items()})
        self.must_keep = {group.name: _must_keep(coupling, group) for group in coupling.prunable}

    def totals_of(self, choices: Mapping[str, LayerChoice], *, readers: bool = True) -> DoubleArray:
        """Squared norm of all that each unit holds in these layers; one entry more for channels of no group.

        Args:
            choices: What stays of each layer.
            readers: Whether the columns that read a unit count, or its filters alone.
        """
        totals = np.zeros(self.coupling.total_units + 1, dtype=np.float64)
        for name, choice in choices.items():
            layer = self.layers[name]
            _add(totals, layer.info.outputs, choice.rows, distinct=layer.distinct_outputs)
            if readers and layer.reads_units:
                _add(totals, layer.info.inputs, choice.readers, distinct=layer.distinct_inputs)
        return totals

    def unit_norms(self, group: str) -> tuple[DoubleArray, DoubleArray]:
        """Squared norms of every unit of a group, ``(size,)`` each: of its filters, and of the columns that read it."""
        part = self.part(group)
        layers = {name: layer.whole() for name, layer in self.layers.items()}
        filters = self.totals_of(layers, readers=False)[part]
        return filters, self.unit_totals[part] - filters

    def strongest_units(self, group: str, values: DoubleArray, keep: int) -> BoolArray:
        """Which units of a group stay: those with the largest values among the ones that may.

        Args:
            group: Its name.
            values: Of each unit, at least 0, ``(size,)``.
            keep: Units to keep, at least 1; more stay where a layer would lose its last.
        """
        units = self.units[self.part(group)]
        return units & _strongest(np.where(units, values, -1.0), keep, self.must_keep[group])

    def part(self, group: str) -> slice:
        """Where a group's units are among all."""
        start = self.coupling.offsets[group]
        return slice(start, start + self.coupling.by_name[group].size)

    def block_norms(self, layer: str, blocks: ColumnGranularity) -> DoubleArray:
        """Squared norm of every block of columns of a layer, of channels that may stay, ``(blocks,)``."""
        own = self.layers[layer]
        alive = self.units[own.column_units]
        totals = own.column_sums[alive]
        labels = own.blocks(blocks, self.units)[alive]
        sums: DoubleArray = np.bincount(labels, weights=totals).astype(np.float64)
        return sums[np.unique(labels)]


def _layer_scores(info: LayerInfo, weight: Tensor, rho: float, kept: Kept | None) -> LayerScores:
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
    return LayerScores(
        info=info,
        squares=squares,
        row_sums=squares.sum(1),
        column_sums=squares.sum(0),
        column_units=info.column_units,
        channels=info.columns // info.kernel_area,
        positions=info.columns % info.kernel_area,
        distinct_outputs=len(np.unique(info.outputs)) == len(info.outputs),
        distinct_inputs=len(np.unique(info.inputs)) == len(info.inputs),
    )


def _must_keep(coupling: Coupling, group: CouplingGroup) -> Sequence[IntArray]:
    """Sets of units of which one must stay: each producer's filters, what each packed layer can still read."""
    sets = [units for ref in group.producers if len(units := np.unique(ref.units)) < group.size]
    start = coupling.offsets[group.name]
    for ref in group.consumers:
        info = coupling.layers[ref.layer]
        readable = np.unique(info.column_units)
        inside = readable[(readable >= start) & (readable < start + group.size)] - np.int32(start)
        if len(info.columns) < info.dense_columns and len(inside) == len(readable):
            sets.append(inside)
    return sorted(sets, key=len)


def _add(totals: DoubleArray, units: IntArray, values: npt.NDArray[np.floating], *, distinct: bool) -> None:
    if distinct:
        totals[units] += values
    else:
        np.add.at(totals, units, values)


def _strongest(totals: DoubleArray, keep: int, must_keep: Sequence[IntArray]) -> BoolArray:
    mask = top_mask(totals, keep)
    if all(mask[units].any() for units in must_keep):
        return mask
    forced = np.zeros_like(mask)
    for units in must_keep:
        if not forced[units].any():
            forced[units[np.argmax(totals[units])]] = True
    return top_mask(np.where(forced, np.inf, totals), max(keep, int(forced.sum())))
