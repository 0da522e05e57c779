"""Which values share the numbering of their channels, and whose weights would follow if it changed.

A convolution makes channels, channelwise operators hand them on, additions join them, convolutions read them. All
values so connected form a class: its channels may be renumbered or dropped, if the filters of its producers, the
weights of depthwise convolutions between, and the columns of its consumers follow. A class that anything else touches
(a concatenation, a reshape, the network's input or output) is frozen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from .graph import Constants, GraphBuilder, drop_unused, node_attribute, replace_nodes
from .shapes import static_shapes

__all__ = ["ChannelClass", "ConvWeights", "find_channel_classes"]

# Channelwise operators of one value: those that make zero of zero, and others.
_KEEP_ZERO = frozenset(
    {"Relu", "LeakyRelu", "HardSwish", "Tanh", "Elu", "Selu", "Mish", "Erf", "Abs", "Neg", "Identity", "Dropout"}
    | {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Sqrt"}
)
_CHANNELWISE = _KEEP_ZERO | {"Clip", "Sigmoid", "HardSigmoid", "Softplus", "Exp"}
_JOINING = frozenset({"Add", "Sub", "Mul", "Max", "Min"})

Array = npt.NDArray[Any]


@dataclass(kw_only=True)
class ChannelClass:
    """Convolutions, by their index in the graph, that make, pass on and read the channels of a class.

    Attributes:
        producers: Convolutions whose filters are the channels.
        depthwise: Depthwise convolutions between values of the class.
        consumers: Convolutions whose input channels they are.
        keeps_zero: Whether a channel that is zero where it is made is zero wherever it is read.
    """

    producers: list[int] = field(default_factory=list)
    depthwise: list[int] = field(default_factory=list)
    consumers: list[int] = field(default_factory=list)
    keeps_zero: bool = True


class ConvWeights:
    """Weights and biases of the graph's convolutions, to be changed in place and written back once."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._constants = Constants(model.graph)
        self._nodes = list(model.graph.node)
        self._changed: dict[int, tuple[Array, Array | None]] = {}

    def weight(self, node: int) -> Array:
        """The weight ``(c_out, c_in / groups, kh, kw)`` as it is now."""
        return self._get(node)[0]

    def bias(self, node: int) -> Array | None:
        """The bias ``(c_out,)`` as it is now."""
        return self._get(node)[1]

    def take(self, node: int, channels: npt.NDArray[np.int64], *, axis: int) -> None:
        """Keep these filters (axis 0) or input channels (axis 1), in this order."""
        weight, bias = self._get(node)
        if axis == 0 and bias is not None:
            bias = bias[channels]
        self._changed[node] = (np.ascontiguousarray(np.take(weight, channels, axis=axis)), bias)

    def write(self) -> int:
        """Replace the nodes that changed; returns how many."""
        builder = GraphBuilder(self._model.graph)
        for index, node in enumerate(self._nodes):
            builder.nodes.append(self._rewritten(builder, index, node) if index in self._changed else node)
        if self._changed:
            replace_nodes(self._model.graph, builder.nodes)
            drop_unused(self._model.graph)
        return len(self._changed)

    def _get(self, index: int) -> tuple[Array, Array | None]:
        if index in self._changed:
            return self._changed[index]
        node = self._nodes[index]
        bias = node.input[2] if len(node.input) > 2 else ""
        return self._constants[node.input[1]], self._constants[bias] if bias else None

    def _rewritten(self, builder: GraphBuilder, index: int, node: onnx.NodeProto) -> onnx.NodeProto:
        weight, bias = self._changed[index]
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        copy.input[1] = builder.constant(node.input[1], weight)
        if bias is not None:
            copy.input[2] = builder.constant(node.input[2], bias)
        for attribute in copy.attribute:
            if attribute.name == "group" and attribute.i > 1:
                attribute.i = weight.shape[0]  # depthwise: no other group is ever rewritten
        return copy


def find_channel_classes(model: onnx.ModelProto) -> list[ChannelClass]:
    """Classes that may be renumbered: not frozen, with a producer and a consumer."""
    return list(_Finder(model).classes())


class _Finder:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._shapes, self._constants = static_shapes(model), Constants(model.graph)
        self._nodes = list(model.graph.node)
        self._parents: dict[str, str] = {}
        self._frozen = {value.name for value in (*model.graph.input, *model.graph.output)}
        self._changes_zero: set[str] = set()
        self._convs: list[tuple[int, str, str]] = []
        self._read = {name for node in self._nodes for name in node.input if name}
        for index, node in enumerate(self._nodes):
            self._visit(index, node)

    def classes(self) -> Iterator[ChannelClass]:
        frozen, changing = ({self._find(name) for name in names} for names in (self._frozen, self._changes_zero))
        found: dict[str, ChannelClass] = {}
        for index, role, value in self._convs:
            root = self._find(value)
            if root not in frozen:
                channel_class = found.setdefault(root, ChannelClass(keeps_zero=root not in changing))
                getattr(channel_class, role).append(index)
        return (c for c in found.values() if c.producers and c.consumers)

    def _visit(self, index: int, node: onnx.NodeProto) -> None:
        values = [name for name in node.input if name and name not in self._constants]
        single = not any(name in self._read for name in node.output[1:])
        if node.op_type == "Conv" and self._is_plain_conv(node):
            self._visit_conv(index, node)
        elif node.op_type in _CHANNELWISE and single and values == [node.input[0]]:
            self._join(node.input[0], node.output[0])
            if node.op_type not in _KEEP_ZERO:
                self._changes_zero.add(node.output[0])
        elif node.op_type in _JOINING and self._joins_channels(node, values):
            self._join(*values, node.output[0])
            if len(values) < len(node.input):  # a constant is added, or compared with
                self._changes_zero.add(node.output[0])
        else:
            self._frozen.update((*node.input, *node.output))

    def _is_plain_conv(self, node: onnx.NodeProto) -> bool:
        constant = all(self._constants.is_float32(name) for name in node.input[1:] if name)
        return constant and len(self._shapes.get(node.input[0], ())) == 4

    def _visit_conv(self, index: int, node: onnx.NodeProto) -> None:
        source, result = node.input[0], node.output[0]
        groups, filters = node_attribute(node, "group", 1), self._shapes[node.input[1]][0]
        if groups == 1:
            self._convs += [(index, "consumers", source), (index, "producers", result)]
        elif groups == filters == self._shapes[source][1]:
            self._join(source, result)
            self._convs.append((index, "depthwise", result))
            if len(node.input) > 2 and node.input[2]:
                self._changes_zero.add(result)
        else:
            self._frozen.update((source, result))

    def _joins_channels(self, node: onnx.NodeProto, values: list[str]) -> bool:
        """Whether all values have the result's channels, and constants are single numbers."""
        shapes = [self._shapes.get(name, ()) for name in (*values, node.output[0])]
        constants = [self._constants[name] for name in node.input if name and name not in values]
        alike = bool(values) and all(len(shape) == 4 and shape[1] == shapes[-1][1] for shape in shapes)
        return alike and all(constant.size == 1 for constant in constants)

    def _find(self, name: str) -> str:
        while (parent := self._parents.setdefault(name, name)) != name:
            name = parent
        return name

    def _join(self, *names: str) -> None:
        for name in names[1:]:
            self._parents[self._find(name)] = self._find(names[0])
