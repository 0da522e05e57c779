"""What onnx's checker lets through and the rewrites rely on: readable tensors and text.

The checker accepts a tensor whose bytes do not fill its shape, types without a number format, and names that are no
UTF-8; touching such a value later raises errors of every kind.
"""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from ..errors import OnnxInputError

__all__ = ["check_well_formed"]


def check_well_formed(model: onnx.ModelProto) -> None:
    """Touch every initializer, attribute and name once.

    Raises:
        OnnxInputError: Naming the tensor or node that cannot be read.
    """
    for tensor in model.graph.initializer:
        _check_tensor(tensor)
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for index, node in enumerate(nodes):
            _check_node(index, node)
    for entry in model.metadata_props:
        if not isinstance(entry.key, str) or not isinstance(entry.value, str):
            raise OnnxInputError(f"metadata {entry.key!r} is no UTF-8 text")
    for value in (*model.graph.input, *model.graph.output):
        elem_type = value.type.tensor_type.elem_type
        if elem_type not in onnx.TensorProto.DataType.values():
            raise OnnxInputError(f"input or output {value.name!r} has an unknown type ({elem_type})")


def _check_tensor(tensor: onnx.TensorProto) -> None:
    try:
        _check_text(tensor.name)
        numpy_helper.to_array(tensor)
    except Exception as error:  # KeyError, TypeError, ValueError and others, by the kind of damage
        raise OnnxInputError(f"tensor {_name(tensor)} cannot be read: {error}") from error


def _check_node(index: int, node: onnx.NodeProto) -> None:
    try:
        _check_text(node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            _check_text(attribute.name, attribute.ref_attr_name)
            if not attribute.ref_attr_name:
                onnx.helper.get_attribute_value(attribute)
            if attribute.HasField("t"):
                numpy_helper.to_array(attribute.t)
    except Exception as error:  # as above, and UnicodeDecodeError
        raise OnnxInputError(f"node {index} of the model cannot be read: {error}") from error
    if not any(node.output):
        raise OnnxInputError(f"node {index} of the model ({node.op_type}) has no output")


def _check_text(*values: str | bytes) -> None:
    """Protobuf hands out bytes, or raises, where text is no UTF-8."""
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is no UTF-8 text")


def _name(tensor: onnx.TensorProto) -> str:
    try:
        return repr(tensor.name)
    except ValueError:
        return "without a readable name"
