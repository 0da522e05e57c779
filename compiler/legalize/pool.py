"""Pooling and means over whole images become our TIR."""

from __future__ import annotations

from tvm import relax

from ..kernel_choice import BY_RULE, KernelChoice
from ..latency_model import modelled_kernels
from ..layer_shape import LayerShape
from ..memory.activation_layouts import static_shape
from ..pool_call import pool_task
from ..schedules.pool import PoolTask, pool
from ..schedules.tile import pool_tile
from ..select import Choice
from .context import Layer, LegalizeContext, call_te, default_legalization

__all__ = ["legalize_adaptive_pool", "legalize_mean", "legalize_pool"]

# One work-item sums a window: larger images are summed by rows first, so that there are work-items enough.
MAX_WINDOW = 1024


def legalize_pool(context: LegalizeContext, builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Maximum and average of windows."""
    task = pool_task(call)
    return default_legalization(builder, call) if task is None else _emit(context, builder, call.args[0], task)


def legalize_adaptive_pool(context: LegalizeContext, builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Average of equal windows; unequal ones get TVM's own definition."""
    data, output = static_shape(call.args[0]), tuple(int(size) for size in call.ty.shape)
    if data[2] % output[2] or data[3] % output[3]:
        return default_legalization(builder, call)
    return _windows(context, builder, call.args[0], (data[2] // output[2], data[3] // output[3]))


def legalize_mean(context: LegalizeContext, builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """The mean of every channel, as a pool; any other mean gets TVM's own definition."""
    data = static_shape(call.args[0])
    axes = sorted(int(axis) % len(data) for axis in call.attrs.axis) if call.attrs.axis is not None else []
    if len(data) != 4 or axes != [2, 3]:
        return default_legalization(builder, call)
    value = call.args[0]
    if data[2] * data[3] > MAX_WINDOW:
        value = builder.emit(_windows(context, builder, value, (1, data[3])))
    mean = _windows(context, builder, value, (data[2], static_shape(value)[3]))
    return mean if call.attrs.keepdims else relax.op.reshape(builder.emit(mean), data[:2])


def _windows(
    context: LegalizeContext, builder: relax.BlockBuilder, data: relax.Expr, window: tuple[int, int]
) -> relax.Expr:
    """Averages of windows side by side."""
    batch, channels, height, width = static_shape(data)
    output = (batch, channels, height // window[0], width // window[1])
    task = PoolTask(
        mode="average",
        kernel=window,
        stride=window,
        dilation=(1, 1),
        padding=(0, 0),
        input_hw=(height, width),
        output_shape=output,
    )
    return _emit(context, builder, data, task)


def _emit(context: LegalizeContext, builder: relax.BlockBuilder, data: relax.Expr, task: PoolTask) -> relax.Expr:
    _, channels, height, width = static_shape(data)
    shape = LayerShape(
        name=f"{task.mode}_pool",
        kind="pool",
        c_in=channels,
        c_out=channels,
        kernel=task.kernel,
        stride=task.stride,
        padding=task.padding,
        dilation=task.dilation,
        groups=channels,
        input_hw=(height, width),
        output_hw=(task.output_shape[2], task.output_shape[3]),
        columns=task.kernel[0] * task.kernel[1],
    )
    modelled = modelled_kernels((shape,), context.target)[0].modelled_us
    choice = Choice(lowering="dense", reason="pooling has no weights", modelled_us=modelled)
    is_input = context.is_input(data)  # which has no halo, and nothing behind its last element
    tile = None if is_input else pool_tile(shape.output_hw, task.stride, context.target)
    kernel = None if tile is None else KernelChoice(lowering="dense", tile=tile)
    attrs = context.add(
        Layer(
            kind="pool",
            shape=shape,
            choice=choice,
            kernel=kernel,
            kernel_reason="" if kernel is None else BY_RULE,
            batch=task.output_shape[0],
        )
    )
    zeros = not is_input and context.layouts.has_zeros_around(data, task)
    return call_te(builder, lambda x: pool(x, task, attrs, zeros_around=zeros, tile=tile), [data], "pool")
