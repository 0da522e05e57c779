"""Make `act.ColumnConv` nodes plain `Conv` nodes with a dense weight.

    ColumnConv(X, W (filters, kept), columns (kept,), B?)  ->  Conv(X, dense (filters, c_in, kh, kw), B?)

The zeros that this writes are found again by `zero_columns`, so that files with packed columns and dense files with
zero columns go one way. TVM's importer knows no model-local functions; other functions are inlined by onnx.
A node whose weight or columns are not constants is refused: the lowering needs them at compile time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from ..errors import OnnxInputError
from .graph import Constants, drop_unused, fresh_name, node_label, replace_nodes

__all__ = ["COLUMN_CONV_DOMAIN", "densify_column_convs", "scatter_columns"]

COLUMN_CONV_DOMAIN = "act"
COLUMN_CONV = "ColumnConv"
CONV_ATTRIBUTES = ("kernel_shape", "pads", "strides", "dilations")


def densify_column_convs(model: onnx.ModelProto) -> int:
    """Rewrite every ``ColumnConv`` of the main graph in place.

    Returns:
        How many nodes were rewritten.

    Raises:
        OnnxInputError: If a node's weight, columns or attributes do not fit together.
    """
    graph = model.graph
    if not any(_is_column_conv(node) for node in graph.node):
        return 0
    constants = Constants(graph)
    rewritten = 0
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if _is_column_conv(node):
            nodes.append(_dense_conv(graph, node, constants))
            rewritten += 1
        else:
            nodes.append(node)
    replace_nodes(graph, nodes)
    _forget_domain(model)
    drop_unused(graph)
    return rewritten


def scatter_columns(packed: npt.NDArray[Any], columns: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Dense GEMM matrix of a packed weight.

    Args:
        packed: Shape ``(filters, kept)``.
        columns: Distinct indices in ``0..count-1``, shape ``(kept,)``, any integer type.
        count: Columns of the dense matrix.

    Returns:
        Shape ``(filters, count)``, type of ``packed``; columns not named are 0.
    """
    matrix = np.zeros((packed.shape[0], count), dtype=packed.dtype)
    matrix[:, columns] = packed
    return matrix


def _is_column_conv(node: onnx.NodeProto) -> bool:
    return bool(node.domain == COLUMN_CONV_DOMAIN and node.op_type == COLUMN_CONV)


def _dense_conv(graph: onnx.GraphProto, node: onnx.NodeProto, constants: Constants) -> onnx.NodeProto:
    label = node_label(node)
    packed, columns = (_constant_input(label, node, index, constants) for index in (1, 2))
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    shape = _weight_shape(label, attributes)
    _check_columns(label, packed, columns, shape)
    dense = scatter_columns(packed, columns, int(np.prod(shape[1:]))).reshape(shape)
    name = fresh_name(graph, f"{node.input[1]}.dense")
    graph.initializer.append(numpy_helper.from_array(dense, name))
    bias = [node.input[3]] if len(node.input) > 3 and node.input[3] else []
    kept = {key: list(attributes[key]) for key in CONV_ATTRIBUTES if key in attributes}
    return helper.make_node("Conv", [node.input[0], name, *bias], list(node.output), name=node.name, **kept)


def _constant_input(label: str, node: onnx.NodeProto, index: int, constants: Constants) -> npt.NDArray[Any]:
    if len(node.input) <= index or node.input[index] not in constants:
        raise OnnxInputError(f"{label}: input {index} must be a constant tensor stored in the file")
    return constants[node.input[index]]


def _weight_shape(label: str, attributes: dict[str, Any]) -> tuple[int, ...]:
    shape = tuple(int(size) for size in attributes.get("weight_shape", ()))
    if len(shape) != 4 or min(shape) < 1:
        raise OnnxInputError(
            f"{label}: attribute weight_shape must be (filters, input channels, kh, kw), got {shape or 'nothing'}"
        )
    kernel = tuple(attributes.get("kernel_shape", shape[2:]))
    if kernel != shape[2:]:
        raise OnnxInputError(f"{label}: kernel_shape {kernel} does not agree with weight_shape {shape}")
    return shape


def _check_columns(label: str, packed: npt.NDArray[Any], columns: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape[1:]))
    if columns.ndim != 1 or columns.dtype.kind != "i":
        raise OnnxInputError(f"{label}: columns must be a list of integers, got {columns.dtype} {columns.shape}")
    if packed.shape != (shape[0], columns.size):
        raise OnnxInputError(
            f"{label}: the packed weight has shape {packed.shape}, but weight_shape {shape} and {columns.size} columns "
            f"ask for {(shape[0], columns.size)}"
        )
    if columns.size and not 0 <= int(columns.min()) <= int(columns.max()) < count:
        raise OnnxInputError(f"{label}: column indices must be in 0..{count - 1}")
    if np.unique(columns).size != columns.size:
        raise OnnxInputError(f"{label}: a column index occurs twice")


def _forget_domain(model: onnx.ModelProto) -> None:
    """Drop the function and, if nothing else uses it, the domain's import."""
    kept = [f for f in model.functions if (f.domain, f.name) != (COLUMN_CONV_DOMAIN, COLUMN_CONV)]
    copies = [onnx.FunctionProto.FromString(f.SerializeToString()) for f in kept]
    del model.functions[:]
    model.functions.extend(copies)
