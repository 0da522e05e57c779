"""Shapes of values: inferred by onnx, read as tuples.

onnx copies a model several times over to infer shapes. Large weights take no part in that, only their shapes do, so
inference runs on a copy that declares them as inputs: a VGG-16 of 550 MB is then as quick as a small network.
"""

from __future__ import annotations

import math

import onnx
from onnx import helper

__all__ = ["element_types", "infer_shapes", "static_shapes"]

# Tensors up to this size may hold shapes or indices, which inference follows by value.
MAX_VALUE_ELEMENTS = 1024


def infer_shapes(model: onnx.ModelProto) -> None:
    """Write the shapes of all values and of the outputs into the model, in place.

    Raises:
        onnx.shape_inference.InferenceError: If shapes contradict each other.
    """
    inferred = onnx.shape_inference.infer_shapes(_without_weights(model), strict_mode=True, data_prop=True).graph
    del model.graph.value_info[:]
    model.graph.value_info.extend(inferred.value_info)
    for output, found in zip(model.graph.output, inferred.output, strict=True):
        output.CopyFrom(found)


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = model.graph
    skeleton = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    declared = {value.name for value in graph.input}
    skeleton.graph.name = "shapes"
    for field in ("node", "input", "output"):
        getattr(skeleton.graph, field).extend(getattr(graph, field))
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= MAX_VALUE_ELEMENTS:
            skeleton.graph.initializer.append(tensor)
        elif tensor.name not in declared:
            value = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            skeleton.graph.input.append(value)
    return skeleton


def static_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of all values whose every dimension is known, inputs, outputs and initializers included."""
    graph = model.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            if all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
                shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element types of all values that have one, as ONNX's numbers, inputs, outputs and initializers included."""
    graph = model.graph
    types = {tensor.name: int(tensor.data_type) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type:
            types[value.name] = int(value.type.tensor_type.elem_type)
    return types
