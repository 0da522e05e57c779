"""Fold a batch normalization into the convolution before it.

    Conv(x, W, b) -> BatchNormalization(gamma, beta, mean, var)
    =>  Conv(x, s*W, s*(b - mean) + beta),  s = gamma / sqrt(var + epsilon)

The rule refuses where the convolution's result is used elsewhere too, or where a weight is not a float constant; such a
batch norm stays and is computed as it is. (A filter whose gamma is zero becomes a zero filter.)
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from .graph import Constants, consumer_counts, drop_unused, fresh_name, replace_nodes

__all__ = ["fold_batch_norm"]

DEFAULT_EPSILON = 1e-5


def fold_batch_norm(model: onnx.ModelProto) -> int:
    """Fold every batch norm that the rule allows, in place; returns how many."""
    graph = model.graph
    constants, counts = Constants(graph), consumer_counts(graph)
    producers = {node.output[0]: node for node in graph.node if node.op_type == "Conv"}
    kept: list[onnx.NodeProto] = []
    folded = 0
    for node in graph.node:
        conv = producers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if conv is None or counts[conv.output[0]] != 1 or not _all_float_constants(conv, node, constants):
            kept.append(node)
            continue
        _fold(graph, conv, node, constants)
        folded += 1
    if folded:
        replace_nodes(graph, kept)
        drop_unused(graph)
    return folded


def _all_float_constants(conv: onnx.NodeProto, norm: onnx.NodeProto, constants: Constants) -> bool:
    names = [*(name for name in conv.input[1:] if name), *norm.input[1:5]]
    return len(norm.output) == 1 and all(constants.is_float32(name) for name in names)


def _fold(graph: onnx.GraphProto, conv: onnx.NodeProto, norm: onnx.NodeProto, constants: Constants) -> None:
    """Compute in float64, so that folding adds no rounding of its own."""
    weight = constants[conv.input[1]].astype(np.float64)
    gamma, beta, mean, variance = (constants[name].astype(np.float64) for name in norm.input[1:5])
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), DEFAULT_EPSILON)
    has_bias = len(conv.input) > 2 and conv.input[2]
    bias = constants[conv.input[2]].astype(np.float64) if has_bias else np.zeros(weight.shape[0])
    scale = gamma / np.sqrt(variance + epsilon)
    names = []
    folded_weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    for stem, array in ((conv.input[1], folded_weight), (f"{conv.input[1]}.bias", scale * (bias - mean) + beta)):
        name = fresh_name(graph, f"{stem}.folded")
        graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
        names.append(name)
    inputs = [conv.input[0], *names]
    del conv.input[:]
    conv.input.extend(inputs)
    conv.output[0] = norm.output[0]
