"""Follow units, the identities of channels, through the graph: one rule per operator.

A rule passes units on, makes new ones, merges two values' units, or freezes them with a reason. An operator without a
rule freezes everything it reads; its result is opaque: nothing is known of its channels, and a layer that reads it gets
frozen inputs.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import fx, nn

from ..models.layers import ChannelPad, ChannelPermutation, ColumnConv2d
from .axis_rules import AxisRule, Shape, reduced, reshaped, transposed
from .capture import CAPTURE_BATCH, CapturedNetwork, operator_name
from .grouped import conv_groups
from .operators import (
    ADDITIONS,
    CONCATENATIONS,
    EXPANSIONS,
    FLATTENINGS,
    MEANS,
    PADS,
    PERMUTATIONS,
    POOL_FUNCTIONS,
    POOL_MODULES,
    PRODUCTS,
    RESHAPES,
    SPLITS,
    SQUEEZES,
    TRANSPOSITIONS,
    argument,
    keeps_place,
    keeps_zero,
)
from .padding import channel_padding, symmetric_padding
from .units import Channels, UnitArray, UnitTable

__all__ = ["NORM_TYPES", "LayerKind", "UnitFlow", "WeightedLayer", "trace_units"]

NormModule: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d
LayerKind: TypeAlias = Literal["conv", "grouped", "linear"]
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
    kind: LayerKind
    inputs: UnitArray
    outputs: UnitArray
    kernel_area: int
    weight_inputs: int
    columns: npt.NDArray[np.int32] | None
    column_prunable: bool


class UnitFlow:
    """Units of all values of one graph; made by :func:`trace_units`.

    Attributes:
        units: All units.
        layers: Weighted layers by module path, in execution order.
        norms: Units of every batch norm's channels.
        values: Channels of every value by node name; a value that is missing is opaque.
    """

    def __init__(self, network: CapturedNetwork) -> None:
        self.units = UnitTable()
        self.layers: dict[str, WeightedLayer] = {}
        self.norms: dict[str, UnitArray] = {}
        self.values: dict[str, Channels] = {}
        self._parts: dict[str, list[Channels]] = {}
        self._shapes = network.shapes
        self._module = network.module

    def visit(self, node: fx.Node) -> None:
        """Apply the rule of one node."""
        if node.op == "output":
            self._freeze_inputs(node, "its channels are the network's output")
        elif node.name not in self._shapes:
            self._visit_other(node)
        else:
            channels = self._channels_of(node, self._shapes[node.name])
            if channels is None:
                self._freeze_inputs(node, _unknown_reason(node))
            else:
                self.values[node.name] = channels

    def _channels_of(self, node: fx.Node, shape: Shape) -> Channels | None:
        """Channels of the node's value, or None where there is no rule."""
        if node.op == "placeholder":
            return Channels(units=self.units.new_frozen(shape[1], "its channels are the network's input"))
        if node.op == "get_attr" or len(shape) < 2 or shape[0] != CAPTURE_BATCH:
            return None
        if node.op == "call_module":
            return self._module_channels(node, self._module.get_submodule(str(node.target)), shape)
        return self._function_channels(node, shape)

    def _module_channels(self, node: fx.Node, module: nn.Module, shape: Shape) -> Channels | None:
        if isinstance(module, nn.Conv2d | ColumnConv2d | nn.Linear):
            return self._weighted(node, module, shape)
        if isinstance(module, NORM_TYPES):
            return self._norm(node, module)
        if isinstance(module, ChannelPad):
            return self._padded(self._input(node), (module.before, module.after))
        if isinstance(module, ChannelPermutation):
            return self._permuted_channels(self._input(node), module)
        if isinstance(module, nn.Flatten):
            return self._moved(node, shape, reshaped)
        return self._in_place(node, module, shape)

    def _function_channels(self, node: fx.Node, shape: Shape) -> Channels | None:
        target: Any = node.target
        if target in PADS:
            padding = channel_padding(node)
            return None if padding is None else self._padded(self._input(node), padding)
        if target in FLATTENINGS or target in RESHAPES or target in SQUEEZES:
            return self._moved(node, shape, reshaped)
        if target in CONCATENATIONS:
            return self._concatenated(node, shape)
        if target in MEANS:
            return self._moved(node, shape, reduced)
        if target in PERMUTATIONS or target in TRANSPOSITIONS:
            return self._moved(node, shape, transposed)
        if target is operator.getitem and str(node.args[0]) in self._parts:
            return self._parts[str(node.args[0])][int(node.args[1])]  # type: ignore[arg-type]
        operands = self._operands(node)
        if len(operands) == 2:
            return self._joined(node, operands) if target in ADDITIONS | PRODUCTS | EXPANSIONS else None
        if target in EXPANSIONS:
            value = self._input(node)
            return value if value is not None and shape[value.axis] == len(value.units) else None
        return self._in_place(node, None, shape)

    # Rules, one per kind of operator.

    def _weighted(self, node: fx.Node, module: nn.Conv2d | ColumnConv2d | nn.Linear, shape: Shape) -> Channels:
        linear = isinstance(module, nn.Linear)
        count = module.in_features if isinstance(module, nn.Linear) else module.in_channels
        axis, name = (len(shape) - 1 if linear else 1), str(node.target)
        inputs = self._read(node, count, axis)
        if name in self.layers:
            # The same weights used twice: both inputs and both outputs must lose the same channels.
            known = self.layers[name]
            self.units.merge(known.inputs, inputs)
            return Channels(units=known.outputs, axis=axis)
        groups = conv_groups(module)
        filters = module.out_features if isinstance(module, nn.Linear) else module.out_channels
        if groups is None:
            outputs = self.units.new(filters)
        else:
            # Without its bias, a group of filters on zero channels gives zero channels: one unit for all of them.
            by_group = inputs.reshape(groups, -1)
            for column in by_group.T[1:]:
                self.units.merge(by_group[:, 0], column)
            outputs = np.repeat(by_group[:, 0], filters // groups)
        kernel = (1, 1) if isinstance(module, nn.Linear) else module.kernel_size
        kind: LayerKind = "linear" if linear else "conv" if groups is None else "grouped"
        self.layers[name] = WeightedLayer(
            name=name,
            kind=kind,
            inputs=inputs,
            outputs=outputs,
            kernel_area=int(np.prod(kernel)),
            weight_inputs=count // (groups or 1),
            columns=module.columns.cpu().numpy().astype(np.int32) if isinstance(module, ColumnConv2d) else None,
            column_prunable=kind == "conv" and _packs_columns(module),
        )
        return Channels(units=outputs, axis=axis)

    def _read(self, node: fx.Node, count: int, axis: int) -> UnitArray:
        """Units of the channels that a layer reads; frozen where they are not known, or not zero when removed."""
        value = self._input(node)
        if value is not None and value.axis == axis and len(value.units) == count:
            if value.stain is not None:
                self.units.freeze(value.units, value.stain)
            return value.units
        self._freeze_inputs(node, f"layer {node.target!r} reads it along another dimension")
        return self.units.new_frozen(count, f"layer {node.target!r} reads a value of which the channels are not known")

    def _norm(self, node: fx.Node, module: NormModule) -> Channels | None:
        value, name = self._input(node), str(node.target)
        if value is None or value.axis != 1:
            units = self._read(node, module.num_features, 1)
            value = Channels(units=units)
        if module.weight is None or module.bias is None:
            reason = f"batch norm {name!r} has no scale and shift, so it does not keep a zero channel zero"
            self.units.freeze(value.units, reason)
            return value
        self.units.merge(self.norms.setdefault(name, value.units), value.units)
        # A removed channel's scale and shift are zero, and so is what comes out, whatever went in.
        return replace(value, stain=None)

    def _padded(self, value: Channels | None, padding: tuple[int, int]) -> Channels | None:
        if value is None or value.axis != 1:
            return None
        # A channel of zeros takes the identity of whatever it is added to.
        units = np.concatenate([self.units.new(padding[0]), value.units, self.units.new(padding[1])])
        return replace(value, units=units)

    def _permuted_channels(self, value: Channels | None, module: ChannelPermutation) -> Channels | None:
        if value is None or value.axis != 1:
            return None
        return replace(value, units=value.units[module.order.cpu().numpy()])

    def _joined(self, node: fx.Node, operands: list[fx.Node]) -> Channels | None:
        """Sum, product or expansion of two values channel by channel, where sizes of 1 are repeated."""
        target: Any = node.target
        first, second = (self.values.get(operand.name) for operand in operands)
        ranks = {len(self._shapes[operand.name]) for operand in operands}
        if first is None or second is None or first.axis != second.axis or len(ranks) != 1:
            return None
        if len(first.units) != len(second.units):
            return self._repeated(node, first, second) if target in PRODUCTS else None
        self.units.merge(first.units, second.units)
        if target in EXPANSIONS:
            return first
        if target in PRODUCTS:  # a removed channel is zero as soon as one factor is
            return replace(first, stain=first.stain and second.stain)
        return replace(first, stain=first.stain or second.stain)

    def _repeated(self, node: fx.Node, first: Channels, second: Channels) -> Channels | None:
        """A product with a map of one channel, which multiplies every channel."""
        many, one = (first, second) if len(second.units) == 1 else (second, first)
        if len(one.units) != 1:
            return None
        self.units.freeze(one.units, f"its one channel multiplies all channels (node {node.name!r})")
        return many

    def _concatenated(self, node: fx.Node, shape: Shape) -> Channels | None:
        parts: Any = argument(node, 0, "tensors")
        dimension = argument(node, 1, "dim", 0)
        values = [self.values.get(part.name) for part in parts if isinstance(part, fx.Node)]
        known = [value for value in values if value is not None]
        if not isinstance(dimension, int) or len(known) != len(parts):
            return None
        if any(value.axis != dimension % len(shape) for value in known):
            return None
        stain = next((value.stain for value in known if value.stain), None)
        return Channels(
            units=np.concatenate([value.units for value in known]), axis=dimension % len(shape), stain=stain
        )

    def _moved(self, node: fx.Node, shape: Shape, rule: AxisRule) -> Channels | None:
        """Operators with one input that may move the channels to another dimension."""
        value = self._input(node)
        return None if value is None else rule(node, value, self._shapes[node.all_input_nodes[0].name], shape)

    def _in_place(self, node: fx.Node, module: nn.Module | None, shape: Shape) -> Channels | None:
        """Operators with one input that leave every channel where it is."""
        value = self._input(node)
        if value is None or len(shape) <= value.axis or len(value.units) != shape[value.axis]:
            return None
        pools = isinstance(module, POOL_MODULES) if module is not None else node.target in POOL_FUNCTIONS
        if value.axis != 1 and (pools or shape != self._shapes[node.all_input_nodes[0].name]):
            return None
        if keeps_zero(node, module):
            return value
        if keeps_place(node, module):
            return replace(value, stain=value.stain or _unknown_reason(node))
        return None

    # Values.

    def _operands(self, node: fx.Node) -> list[fx.Node]:
        given = [*node.args, *node.kwargs.values()][:2]
        return [operand for operand in given if isinstance(operand, fx.Node) and operand.name in self._shapes]

    def _input(self, node: fx.Node) -> Channels | None:
        sources = [source for source in node.all_input_nodes if source.name in self._shapes]
        return self.values.get(sources[0].name) if len(sources) == 1 else None

    def _freeze_inputs(self, node: fx.Node, reason: str) -> None:
        for source in node.all_input_nodes:
            for channels in (self.values.get(source.name), *self._parts.get(source.name, ())):
                if channels is not None:
                    self.units.freeze(channels.units, reason)

    def _visit_other(self, node: fx.Node) -> None:
        """A value that is no tensor: sizes are harmless, parts of a split are known, other tuples are not."""
        is_size = (node.op == "call_method" and node.target in SHAPE_QUERIES) or (
            node.op == "call_function" and node.target is getattr and node.args[1] in SHAPE_QUERIES
        )
        if is_size:
            return
        parts = self._split(node) if node.target in SPLITS else None
        if parts is None:
            self._freeze_inputs(node, _unknown_reason(node))
        else:
            self._parts[node.name] = parts

    def _split(self, node: fx.Node) -> list[Channels] | None:
        value, sizes = self._input(node), argument(node, 1, "split_size_or_sections")
        dimension = argument(node, 2, "dim", 0)
        if value is None or not isinstance(sizes, list | tuple) or not isinstance(dimension, int):
            return None
        if dimension != value.axis or sum(sizes) != len(value.units):
            return None
        ends = np.cumsum(sizes)[:-1]
        return [replace(value, units=units) for units in np.split(value.units, ends)]


def trace_units(network: CapturedNetwork) -> UnitFlow:
    """Follow the units of a captured network through all its nodes."""
    flow = UnitFlow(network)
    for node in network.module.graph.nodes:
        flow.visit(node)
    return flow


def _packs_columns(module: nn.Module) -> bool:
    return isinstance(module, ColumnConv2d) or (isinstance(module, nn.Conv2d) and symmetric_padding(module) is not None)


def _unknown_reason(node: fx.Node) -> str:
    return f"operator {operator_name(node)!r} (node {node.name!r}) is not known to keep a removed channel at zero"
