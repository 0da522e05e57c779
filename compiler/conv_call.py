"""The `LayerShape` of a convolution in a Relax module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tvm import relax

from .column_blocks import count_channels, find_blocks
from .layer_shape import BLOCK_CHANNELS, LayerShape
from .zero_columns import kept_columns

__all__ = ["column_counts", "conv_columns", "conv_shape", "pair"]


def conv_shape(call: relax.Call, values: npt.NDArray[np.float32], *, name: str = "") -> LayerShape:
    """Sizes of a ``relax.nn.conv2d`` in NCHW, with its kept columns.

    Args:
        call: The convolution.
        values: Its constant weight ``(c_out, c_in / groups, kh, kw)``.
        name: Of the source operator.
    """
    attrs, data = call.attrs, [int(size) for size in call.args[0].ty.shape]
    groups = int(attrs.groups)
    depthwise = groups > 1 and groups == data[1]
    columns = np.arange(values[0].size, dtype=np.int32) if groups > 1 else conv_columns(values)
    padding = [int(p) for p in attrs.padding]
    return LayerShape(
        name=name,
        kind="depthwise" if depthwise else "conv",
        c_in=data[1],
        c_out=values.shape[0],
        kernel=(values.shape[2], values.shape[3]),
        stride=pair(attrs.strides),
        padding=(max(padding[0], padding[2]), max(padding[1], padding[3])),
        dilation=pair(attrs.dilation),
        groups=groups,
        input_hw=(data[2], data[3]),
        output_hw=(int(call.ty.shape[2]), int(call.ty.shape[3])),
        columns=columns.size,
        **column_counts(columns, values),
    )


def column_counts(columns: npt.NDArray[np.int32], values: npt.NDArray[np.float32]) -> dict[str, int]:
    """Channels and blocks that pruned columns fill; nothing where none is pruned."""
    channels, area = values.shape[1], values[0, 0].size
    if columns.size == values[0].size:
        return {}
    counts = {"read_channels": count_channels(columns, area)}
    return counts | ({"blocks": find_blocks(columns, channels, area).size} if channels >= BLOCK_CHANNELS else {})


def conv_columns(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """The kept columns; the first where all are zero, so that the layer stays a convolution."""
    columns = kept_columns(weight)
    return columns if columns.size else np.zeros(1, np.int32)


def pair(values: Sequence[int]) -> tuple[int, int]:
    """The first two of TVM's integers."""
    return (int(values[0]), int(values[1]))
