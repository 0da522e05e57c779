"""Keep images channels first where a network turns them channels last and back, as ConvNeXt's blocks do.

    Transpose(NHWC) -> LayerNorm, MatMul, Add, Gelu, … -> Transpose(NCHW)
    =>  the same in NCHW: means over channels, 1x1 convolutions, elementwise operators; no transposition

A value that some other operator reads channels last is transposed there, once. Constants are permuted with the values
they meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx

from .graph import Constants, GraphBuilder, drop_unused, node_attribute, replace_nodes
from .layer_norm import decompose_layer_norm, is_decomposable
from .shapes import static_shapes

__all__ = ["move_channels_first"]

TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
UNARY = frozenset(
    (
        *("Relu", "Sigmoid", "Tanh", "Erf", "Gelu", "HardSigmoid", "HardSwish", "Sqrt", "Neg", "Abs", "Exp", "Log"),
        *("Elu", "LeakyRelu", "Selu", "Softplus", "Mish", "Identity", "Reciprocal"),
    )
)
BINARY = frozenset(("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"))


def move_channels_first(model: onnx.ModelProto) -> int:
    """Rewrite in place; shapes must be inferred before, and again after.

    Returns:
        How many operators were moved from channels last to channels first.
    """
    graph = model.graph
    shapes = static_shapes(model)
    if not any(_transposes(node, TO_LAST) for node in graph.node):
        return 0
    rewriter = _Rewriter(builder=GraphBuilder(graph), constants=Constants(graph), shapes=shapes)
    for node in graph.node:
        rewriter.visit(node)
    rewriter.finish([output.name for output in graph.output])
    if rewriter.moved:
        replace_nodes(graph, rewriter.builder.nodes)
        drop_unused(graph)
    return rewriter.moved


def _transposes(node: onnx.NodeProto, order: list[int]) -> bool:
    return bool(node.op_type == "Transpose" and list(node_attribute(node, "perm", [])) == order)


@dataclass
class _Rewriter:
    """Visits nodes in order.

    Attributes:
        first: Channels-first name of each value that the old graph has channels last.
        renamed: Values of the old graph that are another value now.
        moved: Operators that were moved.
    """

    builder: GraphBuilder
    constants: Constants
    shapes: dict[str, tuple[int, ...]]
    first: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    moved: int = 0

    def visit(self, node: onnx.NodeProto) -> None:
        inputs = [self.renamed.get(name, name) for name in node.input]
        if _transposes(node, TO_LAST) and inputs[0] not in self.first:
            self.first[node.output[0]] = inputs[0]
            return
        if _transposes(node, TO_FIRST) and inputs[0] in self.first:
            self.renamed[node.output[0]] = self.first[inputs[0]]
            return
        if any(name in self.first for name in inputs) and len(self.shapes.get(node.output[0], ())) == 4:
            result = self._moved(node, inputs)
            if result is not None:
                self.first[node.output[0]] = result
                self.moved += 1
                return
        for name in inputs:
            self._write_last(name)
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        del copy.input[:]
        copy.input.extend(inputs)
        self.builder.nodes.append(copy)

    def finish(self, outputs: list[str]) -> None:
        """The graph's outputs keep their names and layouts."""
        for name in outputs:
            self._write_last(name)
            if name in self.renamed:
                self.builder.nodes.append(onnx.helper.make_node("Identity", [self.renamed[name]], [name]))

    def _write_last(self, name: str) -> None:
        if name in self.first and name not in self.written:
            self.written.add(name)
            self.builder.nodes.append(
                onnx.helper.make_node("Transpose", [self.first[name]], [name], name=f"{name}.last", perm=TO_LAST)
            )

    def _moved(self, node: onnx.NodeProto, inputs: list[str]) -> str | None:
        """Emit the operator channels first; returns the name of its result, or None if there is no rule."""
        if node.op_type in UNARY or node.op_type == "Clip":
            return self._emit(node, [self.first[inputs[0]], *inputs[1:]]) if inputs[0] in self.first else None
        rules: dict[str, Callable[[onnx.NodeProto, list[str]], str | None]] = {
            "MatMul": self._product,
            "LayerNormalization": self._layer_norm,
            **dict.fromkeys(BINARY, self._elementwise),
        }
        rule = rules.get(node.op_type)
        return None if rule is None else rule(node, inputs)

    def _elementwise(self, node: onnx.NodeProto, inputs: list[str]) -> str | None:
        known = (name in self.first or _is_permutable(self.constants, name) for name in inputs)
        if not all(known):
            return None
        return self._emit(node, [self.first[name] if name in self.first else self._permuted(name) for name in inputs])

    def _product(self, node: onnx.NodeProto, inputs: list[str]) -> str | None:
        """Times a matrix (in, out): a 1x1 convolution."""
        if inputs[0] not in self.first or inputs[1] not in self.constants or self.constants[inputs[1]].ndim != 2:
            return None
        weight = self.constants[inputs[1]].T[:, :, None, None]
        name = self.builder.constant(f"{inputs[1]}.filters", weight)
        stem = f"{node.output[0]}.first"
        return self.builder.emit("Conv", [self.first[inputs[0]], name], stem, name=node.name, kernel_shape=[1, 1])

    def _layer_norm(self, node: onnx.NodeProto, inputs: list[str]) -> str | None:
        """Over the last axis, the channels."""
        constant = is_decomposable(node, self.constants) and all(
            _is_permutable(self.constants, name) for name in inputs[1:] if name
        )
        if inputs[0] not in self.first or not constant or node_attribute(node, "axis", -1) not in (-1, 3):
            return None
        count = self.shapes[node.output[0]][-1]
        scale, bias = (_permute(self.constants[name]) if name else None for name in (*inputs[1:3], "")[:2])
        return decompose_layer_norm(self.builder, node, self.first[inputs[0]], [1], scale, bias, count=count)

    def _permuted(self, name: str) -> str:
        """A constant for the other order of axes."""
        array = self.constants[name]
        return name if array.size == 1 and array.ndim == 0 else self.builder.constant(f"{name}.first", _permute(array))

    def _emit(self, node: onnx.NodeProto, inputs: list[str]) -> str:
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        return self.builder.emit(node.op_type, inputs, f"{node.output[0]}.first", name=node.name, **attributes)


def _is_permutable(constants: Constants, name: str) -> bool:
    return name in constants and constants[name].ndim <= 4


def _permute(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A constant that broadcasts channels last, for values channels first; leading axes of 1 go again."""
    spread = array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(TO_FIRST)
    return spread[0] if spread.shape[0] == 1 else spread
