"""Pruning plans and their algebra: what a plan keeps in each layer, its normal form, and plans made one after another.

Everything here is index arithmetic on a :class:`Coupling`; no weights, no torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .capture import CapturedNetwork
from .coupling import ALWAYS_KEPT, Coupling, IntArray, LayerInfo, find_coupling

__all__ = ["Kept", "PlanError", "PruningPlan", "compose_plans", "normalize_plan", "resolve_plan"]

BoolArray = npt.NDArray[np.bool_]


class PlanError(ValueError):
    """A pruning plan, or a file that holds one, is damaged or does not fit the network."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PruningPlan:
    """What stays. A missing group or layer keeps everything.

    Attributes:
        keep_filters: Kept units of a coupling group, sorted int32.
        keep_columns: Kept columns of a layer, sorted int32, as columns of its dense GEMM matrix:
            ``c*kh*kw + ky*kw + kx``.
    """

    keep_filters: Mapping[str, IntArray] = field(default_factory=dict)
    keep_columns: Mapping[str, IntArray] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PruningPlan):
            return NotImplemented
        return _same(self.keep_filters, other.keep_filters) and _same(self.keep_columns, other.keep_columns)

    def __hash__(self) -> int:
        return hash((tuple(sorted(self.keep_filters)), tuple(sorted(self.keep_columns))))


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What a plan in normal form keeps of one network: the meaning of a plan, for masks, costs and compaction alike.

    Attributes:
        coupling: Of the network.
        units: Whether each unit stays; one entry more, True, for channels of no group (index -1).
        layer_columns: Columns of each layer that stay, sorted, dense numbering.
    """

    coupling: Coupling
    units: BoolArray
    layer_columns: Mapping[str, IntArray]

    def columns(self, layer: str) -> IntArray:
        """Columns of a layer that stay, sorted, dense numbering."""
        return self.layer_columns[layer]

    def filters(self, layer: str) -> BoolArray:
        """Which filters of a layer stay, ``(c_out,)``."""
        return self.units[self.coupling.layers[layer].outputs]

    def inputs(self, layer: str) -> BoolArray:
        """Which input channels or features of a layer stay, ``(c_in,)``."""
        return self.units[self.coupling.layers[layer].inputs]

    def is_dense(self, layer: str) -> bool:
        """Whether every column of the kept input channels stays."""
        info = self.coupling.layers[layer]
        if info.kind == "grouped":
            return True
        return len(self.layer_columns[layer]) == int(self.inputs(layer).sum()) * info.kernel_area


def resolve_plan(coupling: Coupling, plan: PruningPlan) -> Kept:
    """Check a plan against a network's coupling and find what its normal form keeps.

    A unit that no layer reads goes, with its filters; a column of a removed channel goes; a layer whose last column
    would go keeps the first planned one, with its channel.

    Args:
        coupling: Of the network whose indices the plan uses.
        plan: Any plan.

    Raises:
        PlanError: If a group or layer is unknown or frozen, an index is out of range, unsorted or repeated, or a
            layer would lose all its filters.
    """
    units = _planned_units(coupling, plan)
    planned = _planned_columns(coupling, plan)
    for name, layer in coupling.layers.items():
        if layer.kind == "conv" and not units[_units_of_columns(layer, planned[name])].any():
            units[layer.inputs[planned[name][0] // layer.kernel_area]] = True
    columns = {name: keep[units[_units_of_columns(coupling.layers[name], keep)]] for name, keep in planned.items()}
    units[_unread_units(coupling, units, columns)] = False
    return Kept(coupling=coupling, units=units, layer_columns=columns)


def normalize_plan(coupling: Coupling, plan: PruningPlan) -> PruningPlan:
    """Bring a plan into the one form that says what really remains (see :func:`resolve_plan`).

    Keys that keep everything are left out, too. Two plans that give the same compact network have the same form.

    Args:
        coupling: Of the network whose indices the plan uses.
        plan: Any valid plan.

    Raises:
        PlanError: As :func:`resolve_plan`.
    """
    kept = resolve_plan(coupling, plan)
    filters, columns = {}, {}
    for group in coupling.prunable:
        start = coupling.offsets[group.name]
        stays = kept.units[start : start + group.size]
        if not stays.all():
            filters[group.name] = np.flatnonzero(stays).astype(np.int32)
    for name in coupling.column_layers:
        if len(kept.columns(name)) < int(kept.units[coupling.layers[name].column_units].sum()):
            columns[name] = kept.columns(name)
    return PruningPlan(keep_filters=filters, keep_columns=columns)


def _planned_units(coupling: Coupling, plan: PruningPlan) -> BoolArray:
    units = np.ones(coupling.total_units + 1, dtype=np.bool_)
    for name, keep in plan.keep_filters.items():
        group = coupling.by_name.get(name)
        if group is None:
            raise PlanError(_unknown("coupling group", name, coupling.by_name))
        _check_indices(f"keep_filters of {name!r}", keep, group.size)
        if group.frozen is not None and len(keep) < group.size:
            raise PlanError(f"keep_filters of {name!r}: no filter of this group may be removed, because {group.frozen}")
        start = coupling.offsets[name]
        units[start : start + group.size] = False
        units[start + keep] = True
    for name, layer in coupling.layers.items():
        if not units[layer.outputs].any():
            raise PlanError(f"the plan removes every filter of layer {name!r}; at least one must stay")
    return units


def _planned_columns(coupling: Coupling, plan: PruningPlan) -> dict[str, IntArray]:
    planned = {name: layer.columns for name, layer in coupling.layers.items()}
    for name, keep in plan.keep_columns.items():
        if name not in coupling.column_layers:
            raise PlanError(_unknown("layer with removable columns", name, coupling.column_layers))
        layer = coupling.layers[name]
        _check_indices(f"keep_columns of {name!r}", keep, layer.dense_columns)
        if len(layer.columns) < layer.dense_columns and not np.isin(keep, layer.columns).all():
            raise PlanError(f"keep_columns of {name!r} names columns that the layer no longer has")
        planned[name] = keep
    return planned


def compose_plans(original: Coupling | CapturedNetwork, first: PruningPlan, second: PruningPlan) -> PruningPlan:
    """The plan that does at once what two plans do one after another.

    Args:
        original: The network that ``first`` refers to, or its coupling.
        first: Plan of the original network.
        second: Plan of the network that compaction by ``first`` gives.

    Returns:
        Normalised plan in the original network's indices.

    Raises:
        PlanError: If a plan does not fit its network.
    """
    coupling = original if isinstance(original, Coupling) else find_coupling(original)
    kept = resolve_plan(coupling, first)
    units = kept.units.copy()
    groups = _groups_of_rest(coupling, kept)
    for name, keep in second.keep_filters.items():
        if name not in groups:
            raise PlanError(_unknown("coupling group", name, groups))
        _check_indices(f"keep_filters of {name!r}", keep, len(groups[name]))
        units[groups[name]] = False
        units[groups[name][keep]] = True
    filters = {
        group.name: np.flatnonzero(units[coupling.offsets[group.name] :][: group.size]).astype(np.int32)
        for group in coupling.groups
    }
    columns = {name: _original_columns(kept, name, second.keep_columns.get(name)) for name in coupling.column_layers}
    unknown = [name for name in second.keep_columns if name not in columns]
    if unknown:
        raise PlanError(_unknown("layer with removable columns", unknown[0], columns))
    return normalize_plan(coupling, PruningPlan(keep_filters=filters, keep_columns=columns))


def _original_columns(kept: Kept, name: str, keep: IntArray | None) -> IntArray:
    """Columns of a compact layer in the original layer's numbering; None means all."""
    stored = kept.columns(name)
    if keep is None:
        return stored
    area = kept.coupling.layers[name].kernel_area
    channels = np.flatnonzero(kept.inputs(name)).astype(np.int32)
    _check_indices(f"keep_columns of {name!r}", keep, len(channels) * area)
    columns = channels[keep // area] * np.int32(area) + keep % area
    if not np.isin(columns, stored).all():
        raise PlanError(f"keep_columns of {name!r} names columns that the layer no longer has")
    return np.asarray(columns, dtype=np.int32)


def _groups_of_rest(coupling: Coupling, kept: Kept) -> dict[str, npt.NDArray[np.int64]]:
    """Groups of the compact network: name and original unit numbers, in the compact network's order.

    Almost always the original groups; but two producers that shared only removed units come apart.
    """
    layers = {name: layer.outputs[kept.filters(name)] for name, layer in coupling.layers.items()}
    groups: list[tuple[str, dict[int, None]]] = []
    for name, outputs in layers.items():
        units = dict.fromkeys(outputs.tolist())
        joined = [group for group in groups if not group[1].keys().isdisjoint(units)]
        if not joined:
            groups.append((name, units))
            continue
        for group in (*joined[1:], (name, units)):
            joined[0][1].update(group[1])
        groups = [group for group in groups if not any(group is late for late in joined[1:])]
    # Units are numbered by first appearance in the producers, which the original numbering already follows.
    return {name: np.array(sorted(units), dtype=np.int64) for name, units in groups}


def _unread_units(coupling: Coupling, units: BoolArray, columns: Mapping[str, IntArray]) -> BoolArray:
    """Kept units of prunable groups that have consumers, of which none reads them any more."""
    read, has_reader = np.zeros_like(units), np.zeros_like(units)
    for name, layer in coupling.layers.items():
        if layer.kind == "grouped":
            continue
        has_reader[layer.inputs] = True
        read[_units_of_columns(layer, columns[name]) if layer.kind == "conv" else layer.inputs] = True
    candidates = units & has_reader & ~read
    unread = np.zeros_like(units)
    for group in coupling.prunable:
        start = coupling.offsets[group.name]
        unread[start : start + group.size] = candidates[start : start + group.size]
    if unread.any():
        for layer in coupling.layers.values():
            if unread[layer.outputs].any() and not (units & ~unread)[layer.outputs].any():
                unread[layer.outputs[units[layer.outputs]].min()] = False
    return unread


def _units_of_columns(layer: LayerInfo, columns: IntArray) -> IntArray:
    if layer.kind == "grouped":
        return np.full(len(columns), ALWAYS_KEPT, dtype=np.int32)
    return layer.inputs[columns // layer.kernel_area]


def _check_indices(what: str, keep: IntArray, size: int) -> None:
    if not len(keep):
        raise PlanError(f"{what} is empty; at least one must stay")
    if keep[0] < 0 or keep[-1] >= size or (np.diff(keep) <= 0).any():
        raise PlanError(f"{what} must be sorted, without repetition, in 0..{size - 1}")


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "is the plan for another network?"
    return f"the network has no {what} {name!r}: {hint}"


def _same(first: Mapping[str, IntArray], second: Mapping[str, IntArray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)
