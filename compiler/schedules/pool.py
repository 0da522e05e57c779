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
    """Window of a pooling layer; ``padding`` is top and left, ``padding_after`` bottom and right.

    Where padding counts, a window still does not count what lies beyond it (ceil mode).
    """

    mode: Literal["max", "average"]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]
    output_shape: tuple[int, ...]
    padding_after: tuple[int, int] = (0, 0)
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
    if inside or (task.count_padding and not _beyond(task, height, width)):
        return te.compute(task.output_shape, lambda *i: total[i] * tirx.const(1.0 / size, "float32"), name="average")

    def average(n: Expr, c: Expr, i: Expr, j: Expr) -> Expr:
        rows_in = _overlap(i, task, 0, height)
        count = rows_in * _overlap(j, task, 1, width)
        return total[n, c, i, j] / count.astype("float32")

    return te.compute(task.output_shape, average, name="average")


def _beyond(task: PoolTask, height: int, width: int) -> bool:
    """Whether a window reaches beyond the padding, as ceil mode lets it."""
    return any(
        (count - 1) * stride + (kernel - 1) * dilation - before >= size + after
        for count, stride, kernel, dilation, before, after, size in zip(
            task.output_shape[2:],
            task.stride,
            task.kernel,
            task.dilation,
            task.padding,
            task.padding_after,
            (height, width),
            strict=True,
        )
    )


def _overlap(i: Expr, task: PoolTask, axis: int, size: int) -> Expr:
    """How many of window ``i``'s positions along an axis count: inside the image, or the padding where that counts."""
    dilation, before, kernel = task.dilation[axis], task.padding[axis], task.kernel[axis]
    start = i * task.stride[axis] - before
    end = size + (task.padding_after[axis] if task.count_padding else 0)
    first = tirx.max(0, te.indexdiv(dilation - 1 - start, dilation)) if before and not task.count_padding else 0
    last = tirx.min(kernel - 1, te.indexdiv(end - 1 - start, dilation))
    return tirx.max(last - first + 1, 1)
