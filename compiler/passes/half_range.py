"""Weights must fit half floats where they are stored as such: refuse the layer whose do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ...device.precision import FP16_MAX
from ..errors import CompileError
from .graph import Constants, node_label

__all__ = ["check_half_range", "require_half_range"]

WEIGHTED = ("Conv", "Gemm", "MatMul", "BatchNormalization")


def check_half_range(model: onnx.ModelProto) -> None:
    """Refuse a model with a layer whose weights, biases or statistics are beyond half floats.

    Raises:
        CompileError: Naming the first such layer with its largest value.
    """
    constants = Constants(model.graph)
    for node in model.graph.node:
        if node.op_type in WEIGHTED:
            for name in node.input:
                if constants.is_float32(name):
                    require_half_range(constants[name], f"layer {node_label(node)}")


def require_half_range(values: npt.NDArray[Any], owner: str) -> None:
    """Refuse weights that no half float holds; ``owner`` names them in the error.

    Raises:
        CompileError: If one is beyond the largest half float, or not a number.
    """
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= FP16_MAX:
        raise CompileError(
            f"{owner} has a weight of {largest:g}, and the largest number in fp16 is {FP16_MAX:.0f}: "
            "compile with --precision fp32"
        )
