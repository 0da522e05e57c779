"""Adaptive average pooling whose windows differ in size, as two products with constant matrices.

    y = P_h · x · P_wᵀ,   P[i, j] = 1 / size of window i where j lies in it, else 0

Window i of ``out`` over ``size`` elements is ``floor(i·size/out)`` to ``ceil((i+1)·size/out) - 1``, as in torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import helper
from torch import fx

from .onnx_graph import GraphWriter

__all__ = ["adaptive_average", "averaging_matrix"]


def adaptive_average(w: GraphWriter, node: fx.Node) -> str:
    """Emit the products for one node; returns the name of its result."""
    before, after = w.source_shape(node), w.shape(node)
    rows = w.constant(f"/{node.name}/rows", averaging_matrix(before[2], after[2]))
    columns = w.constant(f"/{node.name}/columns", np.ascontiguousarray(averaging_matrix(before[3], after[3]).T))
    across = f"/{node.name}/across"
    w.nodes.append(helper.make_node("MatMul", [w.value(node), columns], [across], name=f"{node.name}_across"))
    return w.emit(node, "MatMul", [rows, across])


def averaging_matrix(size: int, out: int) -> npt.NDArray[np.float32]:
    """The matrix ``P``, shape ``(out, size)``; every row sums to 1."""
    matrix = np.zeros((out, size), np.float32)
    for i in range(out):
        start, end = i * size // out, -(-(i + 1) * size // out)
        matrix[i, start:end] = 1 / (end - start)
    return matrix
