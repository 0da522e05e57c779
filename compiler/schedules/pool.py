"""Pooling: one output per work-item, the window in its inner loop; scheduled by `generic`.

max:      out = max of the window's elements inside the image
average:  out = sum of the window / its size   (its size inside the image where padding does not count)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tvm import te, tirx
from tvm.ir import Expr

__all__ = ["PoolTask", "pool"]


@dataclass(frozen=True, kw_only=True)
class PoolTask:
    """Window of a pooling layer; ``padding`` is top and left, the other sides follow from the shapes."""

    mode: Literal["max", "average"]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]
    output_shape: tuple[int, ...]
    count_padding: bool = False


def pool(x: te.Tensor, task: PoolTask, attrs: dict[str, Any]) -> te.Tensor:
    """Pool ``x (n, c, h, w)``."""
    (sy, sx), (dy, dx), (top, left) = task.stride, task.dilation, task.padding
    height, width = int(x.shape[2]), int(x.shape[3])
    ky = te.reduce_axis((0, task.kernel[0]), name="ky")
    kx = te.reduce_axis((0, task.kernel[1]), name="kx")
    rows, columns = task.output_shape[2:]
    inside = (
        min(top, left) >= 0
        and top == left == 0
        and (rows - 1) * sy + (task.kernel[0] - 1) * dy < height
        and (columns - 1) * sx + (task.kernel[1] - 1) * dx < width
    )
    reduce, neutral = (
        (te.max, tirx.min_value("float32")) if task.mode == "max" else (te.sum, tirx.const(0.0, "float32"))
    )

    def value(n: Expr, c: Expr, i: Expr, j: Expr) -> Expr:
        y, z = i * sy + ky * dy - top, j * sx + kx * dx - left
        if inside:
            return reduce(x[n, c, y, z], axis=[ky, kx])
        valid = tirx.all(y >= 0, y < height, z >= 0, z < width)
        return reduce(tirx.if_then_else(valid, x[n, c, y, z], neutral), axis=[ky, kx])

    total = te.compute(task.output_shape, value, name="pool", attrs=attrs)
    if task.mode == "max":
        return total
    size = task.kernel[0] * task.kernel[1]
    if inside or task.count_padding:
        return te.compute(task.output_shape, lambda *i: total[i] * tirx.const(1.0 / size, "float32"), name="average")

    def average(n: Expr, c: Expr, i: Expr, j: Expr) -> Expr:
        count = _overlap(i, sy, dy, top, task.kernel[0], height) * _overlap(j, sx, dx, left, task.kernel[1], width)
        return total[n, c, i, j] / count.astype("float32")

    return te.compute(task.output_shape, average, name="average")


def _overlap(i: Expr, stride: int, dilation: int, before: int, kernel: int, size: int) -> Expr:
    """How many of a window's positions lie inside the image along one axis."""
    start = i * stride - before
    first = tirx.max(0, te.indexdiv(dilation - 1 - start, dilation)) if before else 0
    last = tirx.min(kernel - 1, te.indexdiv(size - 1 - start, dilation))
    return tirx.max(last - first + 1, 1)
