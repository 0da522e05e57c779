"""Dense convolution over some of the input's channels: a table holds where each channel begins.

    acc[n, f, y, x] = sum over c, ky, kx of w[f / t, (c, ky, kx), f % t] * x[channel c of the table, pixel of ky, kx]

What `conv.dense_conv` does on an input without the channels that no filter reads, with nothing copied. The schedule is
`conv.schedule_conv`.
"""

from __future__ import annotations

from typing import Any

from tvm import te
from tvm.ir import Expr

from .conv import ConvTask, crop

__all__ = ["channel_conv"]


def channel_conv(
    x: te.Tensor,
    weight: te.Tensor,
    offsets: te.Tensor,
    task: ConvTask,
    attrs: dict[str, Any],
    *,
    strides: tuple[int, ...],
) -> te.Tensor:
    """Every column of the channels in the table; ``offsets`` are elements from the input's first channel to each."""
    shape, t = task.shape, task.tile.filters
    (kh, kw), (sy, sx), (dy, dx), (top, left) = shape.kernel, shape.stride, shape.dilation, task.padding
    c = te.reduce_axis((0, offsets.shape[0]), name="c")
    ky = te.reduce_axis((0, kh), name="ky")
    kx = te.reduce_axis((0, kw), name="kx")

    def value(n: Expr, f: Expr, i: Expr, j: Expr) -> Expr:
        # The last axis has stride 1, so an index into it is an address.
        row = i * sy + ky * dy - top
        pixel = x[n, 0, 0, offsets[c] + row * strides[2] + j * sx + kx * dx - left]
        return te.sum(weight[te.indexdiv(f, t), (c * kh + ky) * kw + kx, te.indexmod(f, t)] * pixel, axis=[c, ky, kx])

    return crop(te.compute(task.tiled_shape, value, name="acc", attrs=attrs), task)
