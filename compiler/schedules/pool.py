"""Pooling: the window in a work-item's inner loop; one output per work-item, or a vector of them with a tile.

max:      out = max of the window's elements inside the image
average:  out = sum of the window / its size   (its size inside the image where padding does not count)

Without a tile it is scheduled by `generic`, with one by `conv`, as a convolution without weights. Where zeros lie
around the image (its halo) and change no result, nothing is compared in the inner loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tvm import te, tirx
from tvm.ir import Expr

from .tile import Tile

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
    input_hw: tuple[int, int]
    output_shape: tuple[int, ...]
    padding_after: tuple[int, int] = (0, 0)
    count_padding: bool = False

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns beyond the image that windows touch, on the side where these are more."""
        return (self._reach(0), self._reach(1))

    def _reach(self, axis: int) -> int:
        last = (self.output_shape[2 + axis] - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis]
        return max(0, self.padding[axis], last - self.padding[axis] - (self.input_hw[axis] - 1))


def pool(
    x: te.Tensor, task: PoolTask, attrs: dict[str, Any], *, zeros_around: bool = False, tile: Tile | None = None
) -> te.Tensor:
    """Pool ``x (n, c, h, w)``.

    Args:
        x: What is pooled.
        task: The window.
        attrs: Annotations of the block that accumulates.
        zeros_around: Whether x may be read as far as windows reach and finds zeros there that change no result.
        tile: Work of a work-item, for the schedule of convolutions.
    """
    (sy, sx), (dy, dx), (top, left) = task.stride, task.dilation, task.padding
    height, width = int(x.shape[2]), int(x.shape[3])
    ky = te.reduce_axis((0, task.kernel[0]), name="ky")
    kx = te.reduce_axis((0, task.kernel[1]), name="kx")
    shape = task.output_shape if tile is None else (*task.output_shape[:3], _whole(task.output_shape[3], tile.pixels))
    inside = zeros_around or task.reach == (0, 0)
    reduce, neutral = (
        (te.max, tirx.min_value("float32")) if task.mode == "max" else (te.sum, tirx.const(0.0, "float32"))
    )

    def value(n: Expr, c: Expr, i: Expr, j: Expr) -> Expr:
        y, z = i * sy + ky * dy - top, j * sx + kx * dx - left
        if inside:
            return reduce(x[n, c, y, z], axis=[ky, kx])
        valid = tirx.all(y >= 0, y < height, z >= 0, z < width)
        return reduce(tirx.if_then_else(valid, x[n, c, y, z], neutral), axis=[ky, kx])

    total = te.compute(shape, value, name="pool", attrs=attrs)
    if task.mode == "max":
        return total if tile is None else te.compute(task.output_shape, lambda *i: total[i], name="max")
    size = task.kernel[0] * task.kernel[1]
    if task.reach == (0, 0) or (task.count_padding and not _beyond(task, height, width)):
        return te.compute(task.output_shape, lambda *i: total[i] * tirx.const(1.0 / size, "float32"), name="average")

    def average(n: Expr, c: Expr, i: Expr, j: Expr) -> Expr:
        rows_in = _overlap(i, task, 0, height)
        count = rows_in * _overlap(j, task, 1, width)
        return total[n, c, i, j] / count.astype("float32")

    return te.compute(task.output_shape, average, name="average")


def _whole(pixels: int, vector: int) -> int:
    return -(-pixels // vector) * vector


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
