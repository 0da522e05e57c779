"""`ColumnConv`: a convolution with packed columns in ONNX, defined in the file itself by standard operators.

The node, of domain ``act``, is a model-local function: scatter the packed weight ``(filters, kept columns)`` into a
zero matrix of the same type, reshape, then ``Conv``. Any runtime with model-local functions runs it; onnxruntime folds
it into one ``Conv`` at load time. Groups are 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto, helper, numpy_helper

from .coupling import IntArray

__all__ = ["COLUMN_CONV", "DOMAIN", "column_conv_function", "pack_columns"]

DOMAIN = "act"
DOMAIN_VERSION = 1
COLUMN_CONV = "ColumnConv"
CONV_ATTRIBUTES = ("kernel_shape", "pads", "strides", "dilations")
SHAPE_ATTRIBUTES = ("matrix_shape", "weight_shape")


def column_conv_function(opset: int) -> FunctionProto:
    """The function ``ColumnConv(X, W, columns, B?) -> Y``.

    Args:
        opset: Version of the standard operators that it uses, at least 13.
    """
    body = [
        _with_reference(helper.make_node("Constant", [], ["matrix_shape"]), "value_ints", "matrix_shape"),
        helper.make_node("ConstantOfShape", ["matrix_shape"], ["zeros_float"]),
        helper.make_node("CastLike", ["zeros_float", "W"], ["zeros"]),
        helper.make_node("Shape", ["W"], ["packed_shape"]),
        helper.make_node("Expand", ["columns", "packed_shape"], ["index"]),
        helper.make_node("ScatterElements", ["zeros", "index", "W"], ["matrix"], axis=1),
        _with_reference(helper.make_node("Constant", [], ["weight_shape"]), "value_ints", "weight_shape"),
        helper.make_node("Reshape", ["matrix", "weight_shape"], ["dense"]),
    ]
    conv = helper.make_node("Conv", ["X", "dense", "B"], ["Y"])
    for name in CONV_ATTRIBUTES:
        _with_reference(conv, name, name)
    return helper.make_function(
        DOMAIN,
        COLUMN_CONV,
        ["X", "W", "columns", "B"],
        ["Y"],
        [*body, conv],
        [helper.make_opsetid("", opset)],
        attributes=[*CONV_ATTRIBUTES, *SHAPE_ATTRIBUTES],
    )


def pack_columns(model: ModelProto, columns: Mapping[str, IntArray]) -> None:
    """Turn dense ``Conv`` nodes into ``ColumnConv`` nodes, in place.

    Args:
        model: Its convolutions' weights are initializers.
        columns: Kept columns by the name of the weight's initializer; all others must be zero.

    Raises:
        ValueError: If there is no such convolution in the model.
    """
    if not columns:
        return
    graph = model.graph
    packed = set()
    for node in graph.node:
        if node.op_type == "Conv" and node.domain == "" and node.input[1] in columns:
            packed.add(node.input[1])
            _pack_node(graph, node, columns[node.input[1]])
    missing = sorted(set(columns) - packed)
    if missing:
        raise ValueError(f"no convolution in the exported graph has the weight {missing[0]!r}")
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    model.functions.append(column_conv_function(opset))
    model.opset_import.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))


def _pack_node(graph: onnx.GraphProto, node: NodeProto, columns: IntArray) -> None:
    weight = next(tensor for tensor in graph.initializer if tensor.name == node.input[1])
    dense = numpy_helper.to_array(weight)
    matrix = dense.reshape(dense.shape[0], -1)
    attributes = {a.name: list(helper.get_attribute_value(a)) for a in node.attribute if a.name in CONV_ATTRIBUTES}
    indices = f"{weight.name.removesuffix('.weight')}.columns"
    bias = [node.input[2]] if len(node.input) > 2 else []
    replacement = helper.make_node(
        COLUMN_CONV,
        [node.input[0], weight.name, indices, *bias],
        list(node.output),
        name=node.name,
        domain=DOMAIN,
        kernel_shape=list(dense.shape[2:]),
        pads=attributes.get("pads", [0, 0, 0, 0]),
        strides=attributes.get("strides", [1, 1]),
        dilations=attributes.get("dilations", [1, 1]),
        matrix_shape=list(matrix.shape),
        weight_shape=list(dense.shape),
    )
    weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(matrix[:, columns]), weight.name))
    graph.initializer.append(numpy_helper.from_array(columns.astype(np.int32), indices))
    node.CopyFrom(replacement)


def _with_reference(node: NodeProto, name: str, reference: str) -> NodeProto:
    """Let an attribute of a node in the function's body take its value from the function's attribute."""
    node.attribute.append(AttributeProto(name=name, ref_attr_name=reference, type=AttributeProto.INTS))
    return node
