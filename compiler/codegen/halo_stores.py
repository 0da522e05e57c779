"""A kernel that writes a tensor with a halo writes the halo's zeros, too, so that no kernel of its own does.

    for plane = own number, + work_items, … < planes:
        y[plane][each row][behind it] = 0,   y[plane][below the last row] = 0,   before the first plane: 0

What lies before a channel is behind the previous one (`layout`). A part of a tensor writes it before its first channel,
too, since whoever writes the previous one may come later. One work-item takes a whole channel: a division for each cell
costs more than that the others have nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    behind, below = pitch - width, channel_stride - height * pitch
    turns = -(-images * channels // work_items)
    dtype = dtype_of(number)

    def integer(value: int) -> Expr:
        return tirx.IntImm(dtype, value)

    def loop(name: str, count: int, body: Callable[[Expr], tirx.Stmt]) -> tirx.Stmt:
        if count == 1:
            return body(integer(0))
        variable = tirx.Var(name, dtype)
        return tirx.For(variable, integer(0), integer(count), tirx.ForKind.SERIAL, body(variable))

    def store(address: Expr) -> tirx.Stmt:
        zero = tirx.FloatImm("float32", 0.0)
        value = zero if dtype_of(buffer) == "float32" else tirx.Cast(dtype_of(buffer), zero)
        return tirx.BufferStore(buffer, value, [address])

    def row_end(address: Expr) -> tirx.Stmt:
        return loop("cell", behind, lambda cell: store(address + cell))

    def plane_zeros(turn: Expr) -> tirx.Stmt:
        plane = number if turns == 1 else turn * integer(work_items) + number
        image, channel = integer(0), plane
        if images > 1:
            image, channel = tirx.truncdiv(plane, integer(channels)), tirx.truncmod(plane, integer(channels))
        first = image * integer(image_stride) + integer(layout.lead)
        start = first + channel * integer(channel_stride)
        zeros = []
        if behind:
            zeros.append(loop("row", height, lambda row: row_end(start + row * pitch + width)))
        if below:
            zeros.append(loop("cell", below, lambda cell: store(start + height * pitch + cell)))
        before = loop("cell", layout.before, lambda cell: store(first + cell - layout.before))
        zeros.append(tirx.IfThenElse(tirx.EQ(channel, integer(0)), before, None))
        body = tirx.SeqStmt(zeros)
        is_even = turns * work_items == images * channels
        return body if is_even else tirx.IfThenElse(plane < integer(images * channels), body, None)

    return loop("turn", turns, plane_zeros)
