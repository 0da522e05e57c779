"""A kernel that writes a tensor with a halo writes the halo's zeros, too, so that no kernel of its own does.

    for k:  cell = k * work_items + own number;   if cell < cells:  y[address of the cell] = 0

An image's cells are those before its first channel and, for each channel, those behind its rows and below the last one
(`layout`). Those before a channel are the previous one's; a part of a tensor writes them before its first channel, too,
since whoever writes the previous one may come later. Work-items take neighbouring cells in turn, whatever else they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Expr

from ..memory.layout import Layout
from .device_functions import DeviceFunction, walk
from .half_storage import dtype_of

__all__ = ["store_halos"]

_AXES = ("blockIdx.z", "blockIdx.y", "blockIdx.x", "threadIdx.z", "threadIdx.y", "threadIdx.x")


def store_halos(function: DeviceFunction, layouts: Sequence[Layout | None]) -> DeviceFunction:
    """The function with stores of zeros to the halos of the parameters that it writes.

    Args:
        function: Its argument ``a<i>`` has layout i.
        layouts: None for rows without gaps.
    """
    nodes = list(walk(function.function.body))
    written = {str(node.buffer.name): node.buffer for node in nodes if isinstance(node, tirx.BufferStore)}
    halos = [
        (written[name], layout)
        for name, layout in ((f"a{index}", layout) for index, layout in enumerate(layouts))
        if layout is not None and layout.has_halo and name in written
    ]
    if not halos:
        return function
    axes = [node for node in nodes if isinstance(node, tirx.AttrStmt) and node.attr_key == "thread_extent"]
    number, work_items = _number(axes)
    zeros = [_zeros(buffer, layout, number, work_items) for buffer, layout in halos]
    inner = axes[-1]

    def extended(node: tirx.AttrStmt) -> tirx.AttrStmt:
        if not node.same_as(inner):
            return node
        return tirx.AttrStmt(node.node, node.attr_key, node.value, tirx.SeqStmt([*zeros, node.body]))

    return replace(function, function=tvm_ffi.structural_map(function.function, (tirx.AttrStmt, extended)))


def _number(axes: list[tirx.AttrStmt]) -> tuple[Expr, int]:
    """The number of a work-item among all, and how many there are."""
    number, work_items = None, 1
    for tag in _AXES:
        for axis in axes:
            if str(axis.node.thread_tag) == tag and int(axis.value) > 1:
                extent = tirx.IntImm(dtype_of(axis.node.var), int(axis.value))
                number = axis.node.var if number is None else number * extent + axis.node.var
                work_items *= int(axis.value)
    return (axes[-1].node.var if number is None else number), work_items


def _zeros(buffer: tvm.ir.Var, layout: Layout, number: Expr, work_items: int) -> tirx.Stmt:
    """The stores of one work-item."""
    images, channels, height, width = layout.shape
    image_stride, channel_stride, pitch, _ = layout.strides
    if image_stride == channels * channel_stride:  # nothing of another kernel's lies between images
        images, channels = 1, images * channels
    behind_row = pitch - width
    behind_rows = height * behind_row
    per_channel = behind_rows + channel_stride - height * pitch
    per_image = layout.before + channels * per_channel
    dtype = dtype_of(number)

    def integer(value: int) -> Expr:
        return tirx.IntImm(dtype, value)

    def parts(value: Expr, size: int, count: int) -> tuple[Expr, Expr]:
        """Which of ``count`` runs of ``size`` cells, and where in it."""
        if count == 1:
            return integer(0), value
        return tirx.truncdiv(value, integer(size)), tirx.truncmod(value, integer(size))

    def store(address: Expr, offset: int) -> tirx.Stmt:
        zero = tirx.FloatImm("float32", 0.0)
        value = zero if dtype_of(buffer) == "float32" else tirx.Cast(dtype_of(buffer), zero)
        return tirx.BufferStore(buffer, value, [address + integer(layout.lead + offset)])

    rounds = -(-images * per_image // work_items)
    turn = tirx.Var("turn", dtype)
    cell = number if rounds == 1 else turn * integer(work_items) + number
    image, in_image = parts(cell, per_image, images)
    first = image * integer(image_stride)
    channel, in_channel = parts(in_image - integer(layout.before), per_channel, channels)
    plane = first + channel * integer(channel_stride)
    below = store(plane + in_channel, height * pitch - behind_rows)
    if behind_row:
        row, column = parts(in_channel, behind_row, height)
        behind = store(plane + row * integer(pitch) + column, width)
        below = tirx.IfThenElse(in_channel < integer(behind_rows), behind, below)
    body = tirx.IfThenElse(in_image < integer(layout.before), store(first + in_image, -layout.before), below)
    if rounds * work_items > images * per_image:
        body = tirx.IfThenElse(cell < integer(images * per_image), body, None)
    return body if rounds == 1 else tirx.For(turn, integer(0), integer(rounds), tirx.ForKind.SERIAL, body)
