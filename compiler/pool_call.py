"""The `PoolTask` of a pooling layer in a Relax module."""

from __future__ import annotations

from tvm import relax

from .conv_call import pair
from .schedules.pool import PoolTask

__all__ = ["POOLS", "pool_task"]

POOLS = ("relax.nn.max_pool2d", "relax.nn.avg_pool2d")


def pool_task(call: relax.Call) -> PoolTask | None:
    """Window and sizes of a pool in NCHW; None in another layout."""
    attrs = call.attrs
    if attrs.layout != "NCHW" or attrs.out_layout != "NCHW":
        return None
    is_max = call.op.name == "relax.nn.max_pool2d"
    return PoolTask(
        mode="max" if is_max else "average",
        kernel=pair(attrs.pool_size),
        stride=pair(attrs.strides),
        dilation=pair(attrs.dilation),
        padding=(int(attrs.padding[0]), int(attrs.padding[1])),
        padding_after=(int(attrs.padding[2]), int(attrs.padding[3])),
        input_hw=(int(call.args[0].ty.shape[2]), int(call.args[0].ty.shape[3])),
        output_shape=tuple(int(size) for size in call.ty.shape),
        count_padding=not is_max and bool(attrs.count_include_pad),
    )
