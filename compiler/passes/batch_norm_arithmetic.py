"""A batch normalization that no convolution took in, as one multiplication and one addition.

    BatchNormalization(x, gamma, beta, mean, var)  =>  x * s + (beta - mean * s),  s = gamma / sqrt(var + epsilon)

They fuse with their neighbours, and read two vectors of constants instead of four.
"""

from __future__ import annotations

import numpy as np
import onnx

from .graph import Constants, GraphBuilder, drop_unused, node_attribute, replace_nodes
from .shapes import static_shapes

__all__ = ["write_batch_norms_as_arithmetic"]

DEFAULT_EPSILON = 1e-5


def write_batch_norms_as_arithmetic(model: onnx.ModelProto) -> int:
    """Rewrite, in place, every batch norm whose parameters are float constants; returns how many."""
    graph = model.graph
    if not any(node.op_type == "BatchNormalization" for node in graph.node):
        return 0
    shapes, constants, builder = static_shapes(model), Constants(graph), GraphBuilder(graph)
    count = 0
    for node in graph.node:
        constant = node.op_type == "BatchNormalization" and all(map(constants.is_float32, node.input[1:5]))
        if not constant or len(node.output) != 1 or node.input[0] not in shapes:
            builder.nodes.append(node)
            continue
        _emit(node, len(shapes[node.input[0]]), constants, builder)
        count += 1
    replace_nodes(graph, builder.nodes)
    drop_unused(graph)
    return count


def _emit(node: onnx.NodeProto, rank: int, constants: Constants, builder: GraphBuilder) -> None:
    gamma, beta, mean, variance = (constants[name].astype(np.float64) for name in node.input[1:5])
    scale = gamma / np.sqrt(variance + node_attribute(node, "epsilon", DEFAULT_EPSILON))
    shape = (-1, *[1] * (rank - 2))
    stem = node.name or node.output[0]
    factor, offset = (
        builder.constant(f"{stem}.{key}", value.reshape(shape).astype(np.float32))
        for key, value in (("scale", scale), ("offset", beta - mean * scale))
    )
    product = builder.emit("Mul", [node.input[0], factor], f"{stem}.product")
    builder.nodes.append(onnx.helper.make_node("Add", [product, offset], [node.output[0]], name=stem))
