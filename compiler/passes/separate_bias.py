"""Biases and transposed matrices as plain constants, computed here once instead of by TVM's constant folding.

    Conv(x, W, b)                        =>  Conv(x, W) + b (C, 1, 1)
    Gemm(x, W, b, transB, alpha, beta)   =>  MatMul(x, alpha W^T) + beta b

Folding a constant in TVM compiles a function for it; of a large linear layer it takes seconds.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from .graph import Constants, GraphBuilder, drop_unused, node_attribute, replace_nodes

__all__ = ["separate_biases"]

Array: TypeAlias = npt.NDArray[Any]


def separate_biases(model: onnx.ModelProto) -> int:
    """Rewrite in place; returns how many nodes were rewritten."""
    graph = model.graph
    constants, builder = Constants(graph), GraphBuilder(graph)
    count = 0
    for node in graph.node:
        bias = node.input[2] if len(node.input) > 2 else ""
        plain = all(constants.is_float32(name) for name in node.input[1:] if name)
        if plain and node.op_type == "Conv" and bias:
            _separate(node, node.input[1], constants[bias].reshape(-1, 1, 1), builder)
        elif plain and node.op_type == "Gemm" and not node_attribute(node, "transA", 0):
            alpha, beta = (np.float32(node_attribute(node, name, 1.0)) for name in ("alpha", "beta"))
            weight = constants[node.input[1]].T if node_attribute(node, "transB", 0) else constants[node.input[1]]
            same = alpha == 1 and not node_attribute(node, "transB", 0)
            name = node.input[1] if same else builder.constant(f"{node.input[1]}.matrix", _scaled(weight, alpha))
            _separate(node, name, _scaled(constants[bias], beta) if bias else None, builder)
        else:
            builder.nodes.append(node)
            continue
        count += 1
    if count:
        replace_nodes(graph, builder.nodes)
        drop_unused(graph)
    return count


def _scaled(array: Array, factor: np.float32) -> Array:
    return array if factor == 1 else array * factor


def _separate(node: onnx.NodeProto, weight: str, bias: Array | None, builder: GraphBuilder) -> None:
    """Emit the product, and the addition that has the node's result."""
    kind = "Conv" if node.op_type == "Conv" else "MatMul"
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} if kind == "Conv" else {}
    inputs, stem = [node.input[0], weight], node.name or node.output[0]
    if bias is None:
        builder.nodes.append(onnx.helper.make_node(kind, inputs, list(node.output), name=stem, **attributes))
        return
    product = builder.emit(kind, inputs, f"{stem}.product", name=stem, **attributes)
    total = [product, builder.constant(f"{stem}.bias", bias)]
    builder.nodes.append(onnx.helper.make_node("Add", total, list(node.output), name=f"{stem}.sum"))
