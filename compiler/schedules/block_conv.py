"""Convolution over blocks of columns: four neighbouring channels at one kernel position behind one address.

    acc[n, f, y, x] = sum over blocks b, u < 4 of w[f / t, 4b + u, f % t] * x[address of b, u planes on]

A quarter of the addresses that packed columns load, and four loads that wait for none but the address. The schedule is
`conv.schedule_conv` with the four channels written out (`Tile.whole_rows`).
"""

from __future__ import annotations

from typing import Any

from tvm import te
from tvm.ir import Expr

from ..layer_shape import BLOCK_CHANNELS
from .conv import ConvTask, crop

__all__ = ["block_conv"]


def block_conv(
    x: te.Tensor,
    weight: te.Tensor,
    offsets: te.Tensor,
    task: ConvTask,
    attrs: dict[str, Any],
    *,
    strides: tuple[int, ...],
) -> te.Tensor:
    """The blocks in the table only; ``offsets`` are those of their first columns (`conv.column_offsets`)."""
    (sy, sx), t = task.shape.stride, task.tile.filters
    b = te.reduce_axis((0, offsets.shape[0]), name="b")
    u = te.reduce_axis((0, BLOCK_CHANNELS), name="u")

    def value(n: Expr, f: Expr, i: Expr, j: Expr) -> Expr:
        # The last axis has stride 1, so an index into it is an address.
        pixel = x[n, u, 0, offsets[b] + i * (sy * strides[2]) + j * sx]
        return te.sum(weight[te.indexdiv(f, t), b * BLOCK_CHANNELS + u, te.indexmod(f, t)] * pixel, axis=[b, u])

    return crop(te.compute(task.tiled_shape, value, name="acc", attrs=attrs), task)
