"""Convolution: what is computed, and how it is spread over work-items.

    acc[n, f, y, x] = sum over k of w[f / t, k, f % t] * x[pixel of column k],     out = epilogue(crop(acc))

A work-item holds a register tile of ``t`` filters by a vector of pixels, or by one of each of a few rows. Per column
it loads these vectors of the input and ``t`` weights that lie side by side, and does ``t`` multiply-adds with each. The
input has a halo of zeros (`layout`), so padding needs no comparison. Where a row is shorter than a CPU's vector,
vectors hold filters in place of pixels (`Tile.along_filters`). Five forms share this schedule: dense (columns are loops
over channel and kernel position), column (a table holds each kept column's offset), depthwise (columns are the kernel
positions of a channel), and those of `channel_conv` and `block_conv`.
In a grouped convolution all filters of a tile are of one group, and columns are counted from its first channel.
Rows are rounded up to whole vectors: what is computed beyond a row's end is dropped when the tile is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import s_tir, te, tirx
from tvm.ir import Expr
from tvm.s_tir.schedule import LoopRV, SBlockRV, ScheduleError

from ..images import IMAGE_ATTRIBUTE, TEXEL_VALUES
from ..layer_shape import LayerShape
from .epilogue import inline_epilogue
from .tile import FILTER_LANES, Tile, largest_divisor, work_group
from .whole_rows import fill_rows

__all__ = [
    "ConvTask",
    "column_conv",
    "column_offsets",
    "crop",
    "dense_conv",
    "pack_weight",
    "schedule_conv",
    "whole_columns",
]

WEIGHT_OPERAND = 0  # of what a convolution's main block reads


@dataclass(frozen=True, kw_only=True)
class ConvTask:
    """A convolution with its tile: all that computation and schedule need beside the tensors."""

    shape: LayerShape
    tile: Tile
    padding: tuple[int, int]
    batch: int

    @property
    def padded_filters(self) -> int:
        """Filters rounded up to whole tiles."""
        return -(-self.shape.c_out // self.tile.filters) * self.tile.filters

    @property
    def padded_width(self) -> int:
        """Output width rounded up to whole vectors."""
        return -(-self.shape.output_hw[1] // self.tile.row_pixels) * self.tile.row_pixels

    @property
    def tiled_shape(self) -> tuple[int, int, int, int]:
        """Shape of the accumulator."""
        return (self.batch, self.padded_filters, self.shape.output_hw[0], self.padded_width)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """Shape of the result."""
        return (self.batch, self.shape.c_out, *self.shape.output_hw)


def pack_weight(matrix: npt.NDArray[np.float32], task: ConvTask) -> npt.NDArray[np.float32]:
    """GEMM matrix ``(filters, columns)`` to ``(filters / t, columns, t)``; missing filters of the last tile are 0."""
    filters, columns = matrix.shape
    padded = np.zeros((task.padded_filters, columns), np.float32)
    padded[:filters] = matrix
    packed = padded.reshape(-1, task.tile.filters, columns).transpose(0, 2, 1)
    return np.ascontiguousarray(packed)


def column_offsets(columns: npt.NDArray[np.int32], task: ConvTask, strides: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Address of each column's input at output pixel (0, 0), relative to input element (0, 0, 0).

    Args:
        columns: Kept columns, flat indices into ``c_in*kh*kw``.
        task: The convolution.
        strides: Of the input's layout.
    """
    kh, kw = task.shape.kernel
    channel, y, x = columns // (kh * kw), columns % (kh * kw) // kw, columns % kw
    rows = y * task.shape.dilation[0] - task.padding[0]
    return np.asarray(channel * strides[1] + rows * strides[2] + x * task.shape.dilation[1] - task.padding[1], np.int32)


def whole_columns(
    matrix: npt.NDArray[np.float32], offsets: npt.NDArray[np.int32], task: ConvTask
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """GEMM matrix and table with as many columns as a tile takes at once, or a multiple of them.

    Those that are added have weights of 0 and the last one's address.
    """
    missing = -len(offsets) % task.tile.columns
    return np.pad(matrix, ((0, 0), (0, missing))), np.pad(offsets, (0, missing), mode="edge")


def dense_conv(x: te.Tensor, weight: te.Tensor, task: ConvTask, attrs: dict[str, Any]) -> te.Tensor:
    """Every column, also of grouped and depthwise convolutions; ``weight`` is packed."""
    shape, t = task.shape, task.tile.filters
    (kh, kw), (sy, sx), (dy, dx), (top, left) = shape.kernel, shape.stride, shape.dilation, task.padding
    per_group, filters_per_group = shape.c_in // shape.groups, shape.c_out // shape.groups
    c = te.reduce_axis((0, per_group), name="c")
    ky = te.reduce_axis((0, kh), name="ky")
    kx = te.reduce_axis((0, kw), name="kx")

    def value(n: Expr, f: Expr, i: Expr, j: Expr) -> Expr:
        channel = c if shape.groups == 1 else te.indexdiv(f, filters_per_group) * per_group + c
        pixel = x[n, channel, i * sy + ky * dy - top, j * sx + kx * dx - left]
        return te.sum(weight[te.indexdiv(f, t), (c * kh + ky) * kw + kx, te.indexmod(f, t)] * pixel, axis=[c, ky, kx])

    return crop(te.compute(task.tiled_shape, value, name="acc", attrs=attrs), task)


def column_conv(
    x: te.Tensor,
    weight: te.Tensor,
    offsets: te.Tensor,
    task: ConvTask,
    attrs: dict[str, Any],
    *,
    strides: tuple[int, ...],
) -> te.Tensor:
    """The columns in the table only, of each group; ``offsets`` come from `column_offsets` with the same strides."""
    (sy, sx), t, shape = task.shape.stride, task.tile.filters, task.shape
    per_group, filters_per_group = shape.c_in // shape.groups, shape.c_out // shape.groups
    k = te.reduce_axis((0, offsets.shape[0]), name="k")

    def value(n: Expr, f: Expr, i: Expr, j: Expr) -> Expr:
        # The last axis has stride 1, so an index into it is an address.
        first = 0 if shape.groups == 1 else te.indexdiv(f, filters_per_group) * per_group
        pixel = x[n, first, 0, offsets[k] + i * (sy * strides[2]) + j * sx]
        return te.sum(weight[te.indexdiv(f, t), k, te.indexmod(f, t)] * pixel, axis=k)

    return crop(te.compute(task.tiled_shape, value, name="acc", attrs=attrs), task)


def crop(acc: te.Tensor, task: ConvTask) -> te.Tensor:
    """The result without the filters and pixels that fill the last tiles."""
    return te.compute(task.output_shape, lambda n, f, i, j: acc[n, f, i, j], name="conv")


def schedule_conv(sch: s_tir.Schedule, acc: SBlockRV, tile: Tile, *, row: int) -> tirx.PrimFunc:
    """Bind a fused convolution: work-groups over filters and pixels, a register tile per work-item.

    Args:
        sch: Schedule of the fused function.
        acc: The block that accumulates.
        tile: Work of a work-item.
        row: Elements from one output row to the next; 0 if nothing may be written behind a row.
    """
    if tile.along_filters:
        return _bind_along_filters(sch, acc, tile)
    if not tile.texels:
        return _bind(sch, acc, tile, row)
    weight = sch.get(acc).reads[WEIGHT_OPERAND].source
    (image,) = (index for index, param in enumerate(sch.mod["main"].params) if param.same_as(weight))
    return _bind(sch, acc, tile, row).with_attr(IMAGE_ATTRIBUTE, image)


def _bind(sch: s_tir.Schedule, acc: SBlockRV, tile: Tile, row: int) -> tirx.PrimFunc:
    out = inline_epilogue(sch, acc)
    n, f, i, j, *reduction = sch.get_loops(acc)
    padded_width, filters = int(sch.get(j).extent), int(sch.get(f).extent)
    _check_output(sch, out, (int(sch.get(i).extent), padded_width))
    tiles = int(sch.get(i).extent) // tile.rows * (padded_width // tile.pixels)
    items_x = work_group(tiles, tile.work_items)
    items_y = largest_divisor(filters // tile.filters, max(1, tile.work_items // items_x))
    f_group, f_item, f_lane = sch.split(f, [None, items_y, tile.filters])
    j_tile, j_lane = sch.split(j, [None, tile.pixels])
    i, i_row = sch.split(i, [None, tile.rows])
    sch.reorder(i, j_tile, i_row)
    p_group, p_item = sch.split(sch.fuse(i, j_tile), [None, items_x])
    reduction, columns = split_columns(sch, reduction, tile.columns)
    sch.reorder(n, f_group, p_group, f_item, p_item, *reduction, f_lane, i_row, *columns, j_lane)
    for loop, axis in ((n, "blockIdx.z"), (f_group, "blockIdx.y"), (p_group, "blockIdx.x")):
        sch.bind(loop, axis)
    sch.bind(f_item, "threadIdx.y")
    sch.bind(p_item, "threadIdx.x")
    if tile.texels:
        _read_texels(sch, acc, reduction[-1])
    sch.set_scope(acc, 0, "local")
    sch.reverse_compute_at(out, p_item, preserve_unit_loops=True)
    *_, out_filter, out_row, out_pixel = sch.get_loops(out)
    sch.vectorize(j_lane)
    for loop in (f_lane, i_row, *columns, out_filter, out_row):
        sch.unroll(loop)
    sch.decompose_reduction(acc, reduction[0])
    if tile.whole_rows and len(reduction) > 1:
        sch.unroll(reduction[-1])
    width = int(sch.get(out).writes[0].source.shape[-1])
    if width != padded_width and row < padded_width:
        sch.unroll(out_pixel)
        return sch.mod["main"]
    if int(sch.get(out_pixel).extent) < tile.pixels:  # one vector is longer than the row
        _, out_pixel = sch.split(out_pixel, [1, tile.pixels])
    sch.vectorize(out_pixel)
    if width == padded_width:
        return sch.mod["main"]
    return fill_rows(sch.mod["main"], sch.get(out).name_hint, sch.get(out_pixel).loop_var, width)


def _bind_along_filters(sch: s_tir.Schedule, acc: SBlockRV, tile: Tile) -> tirx.PrimFunc:
    """Whole rows of pixels per work-item, each pixel with vectors of filters; results are stored one by one."""
    out = inline_epilogue(sch, acc)
    n, f, i, j, *reduction = sch.get_loops(acc)
    height, width, filters = (int(sch.get(loop).extent) for loop in (i, j, f))
    _check_output(sch, out, (height, width))
    rows = tile.pixels // width
    f_group, f_vector, f_lane = sch.split(f, [filters // tile.filters, tile.filters // FILTER_LANES, FILTER_LANES])
    i_group, i_item, i_row = sch.split(i, [None, work_group(height // rows, tile.work_items), rows])
    sch.reorder(n, f_group, i_group, i_item, *reduction, i_row, j, f_vector, f_lane)
    for loop, axis in ((n, "blockIdx.z"), (f_group, "blockIdx.y"), (i_group, "blockIdx.x"), (i_item, "threadIdx.x")):
        sch.bind(loop, axis)
    sch.set_scope(acc, 0, "local")
    sch.reverse_compute_at(out, i_item, preserve_unit_loops=True)
    sch.transform_layout(
        acc, ("write", 0), lambda n, f, i, j: (n, f // FILTER_LANES, i, j, f % FILTER_LANES), pad_value=None
    )
    for loop in (i_row, j, f_vector, *sch.get_loops(out)[-3:]):
        sch.unroll(loop)
    sch.vectorize(f_lane)
    sch.decompose_reduction(acc, reduction[0])
    if tile.whole_rows and len(reduction) > 1:
        sch.unroll(reduction[-1])
    return sch.mod["main"]


def split_columns(sch: s_tir.Schedule, reduction: list[LoopRV], count: int) -> tuple[list[LoopRV], tuple[LoopRV, ...]]:
    """Loops over columns, and the one inside them over those that a sum takes at once: ``count``, or a few more."""
    if count == 1:
        return reduction, ()
    extents = [int(sch.get(loop).extent) for loop in reduction]
    last = max((place for place, extent in enumerate(extents) if extent > 1), default=0)
    at_once = extents[last] if extents[last] < 2 * count else largest_divisor(extents[last], count)
    outer, inner = sch.split(reduction[last], [None, at_once])
    return [*reduction[:last], outer, *reduction[last + 1 :]], (inner,)


def _read_texels(sch: s_tir.Schedule, acc: SBlockRV, column: LoopRV) -> None:
    """Load the weights of a column four filters at a time, before they are used."""
    weights = sch.cache_read(acc, WEIGHT_OPERAND, "local")
    sch.compute_at(weights, column, preserve_unit_loops=True)
    filters = sch.get_loops(weights)[-1]
    texel, value = sch.split(filters, [None, TEXEL_VALUES])
    sch.unroll(texel)
    sch.vectorize(value)


def _check_output(sch: s_tir.Schedule, out: SBlockRV, extent: tuple[int, int]) -> None:
    """Refuse a fusion whose result is larger than the convolution's."""
    shape = [int(size) for size in sch.get(out).writes[0].source.shape]
    if len(shape) != 4 or shape[2] != extent[0] or shape[3] > extent[1]:
        raise ScheduleError(f"a result of shape {shape} is not the convolution's")
