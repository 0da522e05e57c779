"""Layer normalization as means and elementwise operators, which have schedules and fuse with their neighbours.

LayerNormalization(x, scale, bias)  =>  (x - mean(x)) / sqrt(mean((x - mean(x))²) + epsilon) * scale + bias
"""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt
import onnx

from .graph import Constants, GraphBuilder, drop_unused, node_attribute, replace_nodes
from .shapes import static_shapes

__all__ = ["decompose_layer_norm", "decompose_layer_norms", "is_decomposable"]

DEFAULT_EPSILON = 1e-5


def decompose_layer_norms(model: onnx.ModelProto) -> int:
    """Rewrite every layer normalization with one used output and constant scale, in place; returns how many."""
    graph = model.graph
    if not any(node.op_type == "LayerNormalization" for node in graph.node):
        return 0
    shapes, constants, builder = static_shapes(model), Constants(graph), GraphBuilder(graph)
    rewritten = 0
    for node in graph.node:
        shape = shapes.get(node.input[0], ())
        if not is_decomposable(node, constants) or not shape:
            builder.nodes.append(node)
            continue
        axes = list(range(node_attribute(node, "axis", -1) % len(shape), len(shape)))
        scale, bias = (constants[name] if name else None for name in (*node.input[1:3], "")[:2])
        decompose_layer_norm(builder, node, node.input[0], axes, scale, bias, count=prod(shape[axes[0] :]))
        builder.nodes[-1].output[0] = node.output[0]
        rewritten += 1
    replace_nodes(graph, builder.nodes)
    drop_unused(graph)
    return rewritten


def is_decomposable(node: onnx.NodeProto, constants: Constants) -> bool:
    """Whether a node is a layer normalization that `decompose_layer_norm` takes."""
    used = [name for name in node.output if name]
    return (
        node.op_type == "LayerNormalization"
        and len(used) == 1
        and all(name in constants for name in node.input[1:] if name)
    )


def decompose_layer_norm(
    builder: GraphBuilder,
    node: onnx.NodeProto,
    value: str,
    axes: list[int],
    scale: npt.NDArray[np.float32] | None,
    bias: npt.NDArray[np.float32] | None,
    *,
    count: int,
) -> str:
    """Emit the normalization of ``value`` over ``axes``; returns the result's name.

    Args:
        builder: Gets the nodes.
        node: The layer normalization; its name and epsilon are kept.
        value: What is normalized.
        axes: Over which.
        scale: Broadcasts with ``value``; None for 1.
        bias: As ``scale``; None for 0.
        count: Elements that are normalized together.
    """
    stem = node.name or node.output[0]
    epsilon = np.array(node_attribute(node, "epsilon", DEFAULT_EPSILON), np.float32)
    # Mean and difference are written twice, so that each copy joins the one kernel that reads it.
    total = _sum(builder, value, axes, f"{stem}.sum")
    mean, again = (_share(builder, total, count, f"{stem}.mean") for _ in range(2))
    centered = builder.emit("Sub", [value, mean], f"{stem}.centered")
    square = builder.emit("Mul", [centered, centered], f"{stem}.square")
    variance = _share(builder, _sum(builder, square, axes, f"{stem}.squares"), count, f"{stem}.variance")
    shifted = builder.emit("Add", [variance, builder.constant(f"{stem}.epsilon", epsilon)], f"{stem}.shifted")
    deviation = builder.emit("Sqrt", [shifted], f"{stem}.deviation")
    difference = builder.emit("Sub", [value, again], f"{stem}.difference")
    result = builder.emit("Div", [difference, deviation], f"{stem}.normal")
    if scale is not None:
        result = builder.emit("Mul", [result, builder.constant(f"{stem}.scale", scale)], f"{stem}.scaled")
    if bias is not None:
        result = builder.emit("Add", [result, builder.constant(f"{stem}.bias", bias)], f"{stem}.shifted")
    return result


def _sum(builder: GraphBuilder, value: str, axes: list[int], stem: str) -> str:
    """Not a mean: a sum takes in the elementwise operators before it, and its share joins those behind."""
    listed = builder.constant(f"{stem}.axes", np.array(axes, np.int64))
    return builder.emit("ReduceSum", [value, listed], stem, keepdims=1)


def _share(builder: GraphBuilder, total: str, count: int, stem: str) -> str:
    return builder.emit("Mul", [total, builder.constant(f"{stem}.share", np.array(1 / count, np.float32))], stem)
