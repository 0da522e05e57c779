"""Coupling groups: filters and channels of different layers that can only be removed together.

Every channel of every value in the graph gets a *unit*. Operators pass units on (a ReLU), make new ones (a
convolution's filters) or declare two of them one (a residual addition); concatenation and ResNet's option-A shortcut
merely place units at an offset. A gate (squeeze and excitation) shares the units of what it multiplies; a group of a
grouped convolution is one unit. Filters whose units are connected, directly or through a layer they share, form one
group. `unit_flow` knows the operators; this module turns units into groups and per-layer index maps.

A unit may be removed when every operator between its producers and its consumers leaves a zero channel zero. Where one
does not, or is not known, the group is frozen and says why; the network still works.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .capture import CapturedNetwork
from .unit_flow import LayerKind, UnitFlow, WeightedLayer, trace_units

__all__ = ["Coupling", "CouplingGroup", "IntArray", "LayerInfo", "LayerRef", "find_coupling"]

IntArray: TypeAlias = npt.NDArray[np.int32]

ALWAYS_KEPT = -1
"""Unit number of a channel that belongs to no group, such as a channel of the image."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerRef:
    """Where a group's units sit in one layer: channel ``positions[i]`` is unit ``units[i]`` of the group."""

    layer: str
    positions: IntArray
    units: IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class CouplingGroup:
    """Units that are chosen together.

    Attributes:
        name: Name of the first producer, in execution order.
        size: Number of units, numbered in order of first appearance in the producers.
        producers: Layers whose filters these are; grouped convolutions, which have several filters per unit, too.
        norms: Batch norms on these channels.
        consumers: Layers that read these channels; a linear layer after flattening has several positions per unit.
        frozen: Why no unit may be removed, or None.
    """

    name: str
    size: int
    producers: tuple[LayerRef, ...]
    norms: tuple[LayerRef, ...]
    consumers: tuple[LayerRef, ...]
    frozen: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerInfo:
    """Index maps of one weighted layer.

    Attributes:
        name: Module path.
        kind: ``conv`` has groups 1. In a ``grouped`` convolution, depthwise ones among them, each group of input
            channels is one unit with the filters that read it.
        inputs: Unit number of every input channel or feature, in ``Coupling.offsets``' numbering, or -1.
        outputs: Unit number of every filter, or -1.
        kernel_area: ``kh * kw``; 1 for a linear layer.
        columns: Dense GEMM column of each stored weight column; ``0..c_in*kh*kw-1`` in a dense layer.
        dense_columns: ``c_in * kh * kw`` (of one group).
    """

    name: str
    kind: LayerKind
    inputs: IntArray
    outputs: IntArray
    kernel_area: int
    columns: IntArray
    dense_columns: int

    @cached_property
    def column_units(self) -> IntArray:
        """Unit number that each stored column reads, or -1."""
        if self.kind == "grouped":
            return np.full(len(self.columns), ALWAYS_KEPT, dtype=np.int32)
        return self.inputs[self.columns // self.kernel_area]


@dataclass(frozen=True, kw_only=True, eq=False)
class Coupling:
    """All groups of a network, with the index maps between layers and units.

    Attributes:
        groups: In order of their first producer.
        column_layers: Convolutions with groups 1 whose columns may be removed.
        layers: Weighted layers in execution order.
        norms: Unit numbers of every batch norm's channels.
        values: Unit numbers of the channels of the tensors in the graph of which they are known, by node name.
        axes: The dimension of those channels, by node name.
    """

    groups: tuple[CouplingGroup, ...]
    column_layers: tuple[str, ...]
    layers: Mapping[str, LayerInfo]
    norms: Mapping[str, IntArray]
    values: Mapping[str, IntArray]
    axes: Mapping[str, int]

    @cached_property
    def prunable(self) -> tuple[CouplingGroup, ...]:
        """Groups whose units may be removed."""
        return tuple(group for group in self.groups if group.frozen is None)

    @cached_property
    def by_name(self) -> Mapping[str, CouplingGroup]:
        """Groups by name."""
        return {group.name: group for group in self.groups}

    @cached_property
    def offsets(self) -> Mapping[str, int]:
        """First unit number of each group: unit ``u`` of group ``g`` is number ``offsets[g] + u``."""
        starts = itertools.accumulate((group.size for group in self.groups), initial=0)
        return {group.name: start for group, start in zip(self.groups, starts, strict=False)}

    @property
    def total_units(self) -> int:
        """Units of all groups."""
        return sum(group.size for group in self.groups)

    @cached_property
    def frozen(self) -> tuple[tuple[str, str], ...]:
        """Layers whose filters may not be removed, with the reason."""
        return tuple((ref.layer, group.frozen) for group in self.groups if group.frozen for ref in group.producers)


def find_coupling(network: CapturedNetwork) -> Coupling:
    """Find what must be removed together.

    Args:
        network: A captured network, dense or compact.

    Returns:
        Its coupling groups; the same network always gives the same groups, names and numbering. The numbering of
        units in a compact network is that of the original's kept units, in order.
    """
    flow = trace_units(network)
    members = _group_members(flow)
    numbers = np.full(flow.units.count, ALWAYS_KEPT, dtype=np.int32)
    ordered = [unit for _, units in members for unit in units]
    numbers[ordered] = np.arange(len(ordered), dtype=np.int32)
    roots = flow.units.roots()

    def numbered(units: npt.NDArray[np.int64]) -> IntArray:
        return np.asarray(numbers[roots[units]], dtype=np.int32)

    layers = {
        name: _layer_info(layer, numbered(layer.inputs), numbered(layer.outputs)) for name, layer in flow.layers.items()
    }
    norms = {name: numbered(units) for name, units in flow.norms.items()}
    reasons = flow.units.frozen_roots()
    groups, start = [], 0
    for name, units in members:
        frozen = next((reasons[unit] for unit in units if unit in reasons), None)
        groups.append(_make_group(name, start, len(units), layers, norms, frozen))
        start += len(units)
    return Coupling(
        groups=tuple(groups),
        column_layers=tuple(name for name, layer in flow.layers.items() if layer.column_prunable),
        layers=layers,
        norms=norms,
        values={name: numbered(channels.units) for name, channels in flow.values.items()},
        axes={name: channels.axis for name, channels in flow.values.items()},
    )


def _group_members(flow: UnitFlow) -> list[tuple[str, list[int]]]:
    """Name and root units of each group: producers that share a unit belong together."""
    roots = flow.units.roots()
    leader_of: dict[int, str] = {}
    producers: dict[str, list[int]] = {name: roots[layer.outputs].tolist() for name, layer in flow.layers.items()}
    merged = {name: name for name in producers}

    def leader(name: str) -> str:
        while merged[name] != name:
            name = merged[name]
        return name

    order = {name: index for index, name in enumerate(producers)}
    for name, units in producers.items():
        for unit in units:
            first, second = leader(leader_of.setdefault(unit, name)), leader(name)
            early, late = sorted((first, second), key=order.__getitem__)
            merged[late] = early
    members: dict[str, dict[int, None]] = {}
    for name, units in producers.items():
        members.setdefault(leader(name), {}).update(dict.fromkeys(units))
    return [(name, list(units)) for name, units in members.items()]


def _layer_info(layer: WeightedLayer, inputs: IntArray, outputs: IntArray) -> LayerInfo:
    dense_columns = layer.weight_inputs * layer.kernel_area
    columns = layer.columns if layer.columns is not None else np.arange(dense_columns, dtype=np.int32)
    return LayerInfo(
        name=layer.name,
        kind=layer.kind,
        inputs=inputs,
        outputs=outputs,
        kernel_area=layer.kernel_area,
        columns=columns,
        dense_columns=dense_columns,
    )


def _make_group(
    name: str,
    start: int,
    size: int,
    layers: Mapping[str, LayerInfo],
    norms: Mapping[str, IntArray],
    frozen: str | None,
) -> CouplingGroup:
    def refs(maps: Mapping[str, IntArray]) -> tuple[LayerRef, ...]:
        found = []
        for layer, units in maps.items():
            positions = np.flatnonzero((units >= start) & (units < start + size)).astype(np.int32)
            if len(positions):
                found.append(LayerRef(layer=layer, positions=positions, units=units[positions] - np.int32(start)))
        return tuple(found)

    return CouplingGroup(
        name=name,
        size=size,
        producers=refs({layer.name: layer.outputs for layer in layers.values()}),
        norms=refs(norms),
        consumers=refs({layer.name: layer.inputs for layer in layers.values() if layer.kind != "grouped"}),
        frozen=frozen,
    )
