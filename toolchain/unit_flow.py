"""Follow units, the identities of channels, through the graph: one rule per operator, over a union-find.

A rule either passes units on, makes new ones, merges two values' units, or freezes them with a reason. An operator
without a rule freezes everything it reads, and its result gets new, frozen units.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import fx, nn

from ..models.layers import ChannelPad, ColumnConv2d
from .capture import CAPTURE_BATCH, CapturedNetwork, operator_name
from .depthwise import is_depthwise
from .operators import ADDITIONS, CONCATENATIONS, FLATTENINGS, MEANS, PADS, RESHAPES, argument, keeps_zero

__all__ = ["UnitFlow", "WeightedLayer", "channel_padding", "symmetric_padding", "trace_units"]

UnitArray: TypeAlias = npt.NDArray[np.int64]
NormModule: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d
NORM_TYPES = (nn.BatchNorm1d, nn.BatchNorm2d)
SHAPE_QUERIES = frozenset({"size", "dim", "shape"})


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedLayer:
    """A layer with a weight matrix, and the units of its channels.

    Attributes:
        weight_inputs: Input channels that one filter reads.
        columns: Stored columns of a ``ColumnConv2d``, int32; None for a dense layer.
        column_prunable: Whether single columns may be removed.
    """

    name: str
    kind: Literal["conv", "depthwise", "grouped", "linear"]
    inputs: UnitArray
    outputs: UnitArray
    kernel_area: int
    weight_inputs: int
    columns: npt.NDArray[np.int32] | None
    column_prunable: bool


class UnitFlow:
    """Units of all values of one graph; made by :func:`trace_units`."""

    def __init__(self, network: CapturedNetwork) -> None:
        self.values: dict[str, UnitArray] = {}
        self.layers: dict[str, WeightedLayer] = {}
        self.norms: dict[str, UnitArray] = {}
        self._parents: list[int] = []
        self._frozen: list[tuple[UnitArray, str]] = []
        self._shapes = network.shapes
        self._module = network.module

    @property
    def unit_count(self) -> int:
        """Units made so far."""
        return len(self._parents)

    def roots(self) -> UnitArray:
        """The representative of every unit: the oldest of those merged with it."""
        return np.array([self._root(unit) for unit in range(self.unit_count)], dtype=np.int64)

    def frozen_roots(self) -> dict[int, str]:
        """Why units may not be removed, by representative; the first reason found."""
        reasons: dict[int, str] = {}
        for units, reason in self._frozen:
            for unit in units.tolist():
                reasons.setdefault(self._root(unit), reason)
        return reasons

    def visit(self, node: fx.Node) -> None:
        """Apply the rule of one node."""
        if node.op == "output":
            for source in node.all_input_nodes:
                self._freeze(self.values[source.name], "its channels are the network's output")
            return
        shape = self._shapes.get(node.name)
        if shape is None:
            self._visit_other(node)
            return
        units = self._units_of(node, shape)
        self.values[node.name] = self._unknown(node, shape) if units is None else units

    def _units_of(self, node: fx.Node, shape: tuple[int, ...]) -> UnitArray | None:
        """Units of the node's channels, or None where there is no rule."""
        if node.op == "placeholder":
            return self._new_frozen(shape, "its channels are the network's input")
        if node.op == "get_attr" or len(shape) < 2 or shape[0] != CAPTURE_BATCH:
            return None
        module = self._module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Conv2d | ColumnConv2d | nn.Linear):
            return self._weighted(node, module)
        if isinstance(module, NORM_TYPES):
            return self._norm(node, module)
        if isinstance(module, ChannelPad):
            return self._padded(self._input(node), (module.before, module.after))
        if isinstance(module, nn.Flatten):
            return self._flattened(node, shape, module.start_dim, module.end_dim)
        target: Any = node.target
        if module is None and target in PADS:
            padding = channel_padding(node)
            return None if padding is None else self._padded(self._input(node), padding)
        if module is None and target in ADDITIONS:
            return self._added(node)
        if module is None and target in CONCATENATIONS:
            return self._concatenated(node)
        if module is None and target in FLATTENINGS:
            return self._flattened(node, shape, argument(node, 1, "start_dim", 0), argument(node, 2, "end_dim", -1))
        if module is None and target in RESHAPES and not node.kwargs:
            return self._flattened(node, shape, 1, -1)
        if module is None and target in MEANS:
            return self._reduced(node)
        if keeps_zero(node, module):
            units = self._input(node)
            return units if units is not None and len(units) == shape[1] else None
        return None

    # Rules, one per kind of operator.

    def _weighted(self, node: fx.Node, module: nn.Conv2d | ColumnConv2d | nn.Linear) -> UnitArray | None:
        inputs, name = self._input(node), str(node.target)
        if inputs is None or (isinstance(module, nn.Linear) and len(self._shapes[node.name]) != 2):
            return None
        if name in self.layers:
            # The same weights used twice: both inputs and both outputs must lose the same channels.
            known = self.layers[name]
            self._merge(known.inputs, inputs)
            return known.outputs
        groups = 1 if isinstance(module, nn.Linear) else module.groups
        filters = module.out_features if isinstance(module, nn.Linear) else module.out_channels
        kind: Literal["conv", "depthwise", "grouped", "linear"] = "linear" if isinstance(module, nn.Linear) else "conv"
        if is_depthwise(module):
            # A depthwise filter of a zero channel, without its bias, gives a zero channel: one unit for both.
            kind, outputs = "depthwise", np.repeat(inputs, filters // groups)
        elif groups == 1:
            outputs = self._new(filters)
        else:
            kind, outputs = "grouped", self._new(filters)
            reason = f"layer {name!r} is a convolution with {groups} groups, which mixes channels within a group"
            self._freeze(inputs, reason)
            self._freeze(outputs, reason)
        kernel = (1, 1) if isinstance(module, nn.Linear) else module.kernel_size
        self.layers[name] = WeightedLayer(
            name=name,
            kind=kind,
            inputs=inputs,
            outputs=outputs,
            kernel_area=int(np.prod(kernel)),
            weight_inputs=len(inputs) // groups,
            columns=module.columns.cpu().numpy().astype(np.int32) if isinstance(module, ColumnConv2d) else None,
            column_prunable=kind == "conv" and _packs_columns(module),
        )
        return outputs

    def _norm(self, node: fx.Node, module: NormModule) -> UnitArray | None:
        units, name = self._input(node), str(node.target)
        if units is None:
            return None
        if module.weight is None or module.bias is None:
            self._freeze(units, f"batch norm {name!r} has no scale and shift, so it does not keep a zero channel zero")
            return units
        self._merge(self.norms.setdefault(name, units), units)
        return units

    def _padded(self, units: UnitArray | None, padding: tuple[int, int]) -> UnitArray | None:
        if units is None:
            return None
        # A channel of zeros takes the identity of whatever it is added to.
        return np.concatenate([self._new(padding[0]), units, self._new(padding[1])])

    def _added(self, node: fx.Node) -> UnitArray | None:
        operands = [*node.args, *node.kwargs.values()][:2]
        values = [o for o in operands if isinstance(o, fx.Node) and o.name in self._shapes]
        if len(values) != 2:
            numbers = [o for o in operands if isinstance(o, int | float)]
            return self._input(node) if numbers == [0] else None
        (a, b), (shape_a, shape_b) = ([self.values[v.name] for v in values], [self._shapes[v.name] for v in values])
        if len(shape_a) != len(shape_b) or len(a) != len(b) or shape_a[0] != shape_b[0]:
            return None
        self._merge(a, b)
        return a

    def _concatenated(self, node: fx.Node) -> UnitArray | None:
        parts: Any = argument(node, 0, "tensors")
        dimension = argument(node, 1, "dim", 0)
        shape = self._shapes[node.name]
        if not isinstance(dimension, int) or dimension % len(shape) != 1:
            return None
        return np.concatenate([self.values[part.name] for part in parts])

    def _flattened(self, node: fx.Node, shape: tuple[int, ...], start: Any, end: Any) -> UnitArray | None:  # noqa: ANN401
        units = self._input(node)
        if units is None:
            return None
        before = self._shapes[node.all_input_nodes[0].name]
        if before == shape or (start == 2 and shape[1] == before[1]):
            return units
        if len(shape) != 2 or start != 1 or end not in (-1, len(before) - 1) or shape[1] != np.prod(before[1:]):
            return None
        return np.repeat(units, shape[1] // before[1])  # (C, H*W) flattened: each channel's pixels are neighbours

    def _reduced(self, node: fx.Node) -> UnitArray | None:
        dimensions: Any = argument(node, 1, "dim")
        dimensions = [dimensions] if isinstance(dimensions, int) else list(dimensions or [])
        rank = len(self._shapes[node.all_input_nodes[0].name])
        spatial = bool(dimensions) and all(isinstance(d, int) and d % rank >= 2 for d in dimensions)
        return self._input(node) if spatial else None

    # Units.

    def _input(self, node: fx.Node) -> UnitArray | None:
        sources = [source for source in node.all_input_nodes if source.name in self._shapes]
        return self.values[sources[0].name] if len(sources) == 1 else None

    def _unknown(self, node: fx.Node, shape: tuple[int, ...]) -> UnitArray:
        reason = _unknown_reason(node)
        for source in node.all_input_nodes:
            if source.name in self.values:
                self._freeze(self.values[source.name], reason)
        return self._new_frozen(shape, reason)

    def _visit_other(self, node: fx.Node) -> None:
        """A value that is no tensor: sizes are harmless, tuples of tensors are not understood."""
        is_size = (node.op == "call_method" and node.target in SHAPE_QUERIES) or (
            node.op == "call_function" and node.target is getattr and node.args[1] in SHAPE_QUERIES
        )
        if is_size:
            return
        for source in node.all_input_nodes:
            if source.name in self.values:
                self._freeze(self.values[source.name], _unknown_reason(node))

    def _new(self, count: int) -> UnitArray:
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.int64)

    def _new_frozen(self, shape: tuple[int, ...], reason: str) -> UnitArray:
        units = self._new(shape[1] if len(shape) > 1 else 1)
        self._freeze(units, reason)
        return units

    def _freeze(self, units: UnitArray, reason: str) -> None:
        self._frozen.append((units, reason))

    def _merge(self, first: UnitArray, second: UnitArray) -> None:
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            old, new = sorted((self._root(a), self._root(b)))
            self._parents[new] = old

    def _root(self, unit: int) -> int:
        parents = self._parents
        while parents[unit] != unit:
            parents[unit] = parents[parents[unit]]
            unit = parents[unit]
        return unit


def trace_units(network: CapturedNetwork) -> UnitFlow:
    """Follow the units of a captured network through all its nodes."""
    flow = UnitFlow(network)
    for node in network.module.graph.nodes:
        flow.visit(node)
    return flow


def channel_padding(node: fx.Node) -> tuple[int, int] | None:
    """Zero channels that ``F.pad`` puts before and after, ``(0, 0)`` for a spatial pad; None if it is no such pad."""
    widths: Any = argument(node, 1, "pad")
    mode, value = argument(node, 2, "mode", "constant"), argument(node, 3, "value")
    if not isinstance(widths, Iterable) or not all(isinstance(width, int) for width in widths):
        return None
    widths = [*widths, 0, 0, 0, 0, 0, 0]
    if (mode == "constant" and value not in (None, 0)) or any(widths[6:]) or min(widths[4:6]) < 0:
        return None
    return widths[4], widths[5]


def symmetric_padding(module: nn.Conv2d | ColumnConv2d) -> tuple[int, int] | None:
    """Zero padding of a convolution as ``(py, px)``; None if it pads otherwise or differently on both sides."""
    if isinstance(module, nn.Conv2d) and (module.padding_mode != "zeros" or isinstance(module.padding, str)):
        if module.padding == "valid":
            return 0, 0
        spans = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        even = module.padding_mode == "zeros" and module.padding == "same" and not any(span % 2 for span in spans)
        return (spans[0] // 2, spans[1] // 2) if even else None
    padding = module.padding
    return int(padding[0]), int(padding[1])


def _packs_columns(module: nn.Module) -> bool:
    return isinstance(module, ColumnConv2d) or (isinstance(module, nn.Conv2d) and symmetric_padding(module) is not None)


def _unknown_reason(node: fx.Node) -> str:
    return f"operator {operator_name(node)!r} (node {node.name!r}) is not known to keep a removed channel at zero"
