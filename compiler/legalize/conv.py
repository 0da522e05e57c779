"""Convolutions become our TIR, by the lowering that `select` chose; split where a weight is too large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, te

from ..column_blocks import block_weights, find_blocks
from ..conv_call import column_counts, conv_columns, conv_shape, pair
from ..latency_model import Lowering
from ..layer_shape import LayerShape
from ..memory.activation_layouts import static_shape
from ..schedules.block_conv import block_conv
from ..schedules.channel_conv import channel_conv
from ..schedules.conv import ConvTask, column_conv, column_offsets, dense_conv, pack_weight, whole_columns
from ..schedules.tile import Tile
from .context import FLOAT_BYTES, LegalizeContext, call_te, default_legalization

__all__ = ["legalize_conv"]

# Parts of a layer that is split have whole texels and, on a GPU, whole tiles, so that none is padded.
WHOLE_TILES = 16


def legalize_conv(context: LegalizeContext, builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """A 2-D convolution with a constant weight; any other gets TVM's own definition."""
    data, weight = call.args[:2]
    attrs = call.attrs
    plain = attrs.data_layout == attrs.out_layout == "NCHW" and attrs.kernel_layout == "OIHW"
    if not isinstance(weight, tvm.ir.GenericConst) or not plain or str(data.ty.dtype) != "float32":
        return default_legalization(builder, call)
    values = weight.value.numpy()
    shape = conv_shape(call, values, name=context.name(values, "conv"))
    if context.is_input(data):
        data = builder.emit(builder.call_te(_copy, data, primfunc_name_hint="copy"))
    parts = context.parts(shape.c_out, WHOLE_TILES, values[0].size * FLOAT_BYTES)
    if len(parts) == 1 or shape.groups > 1:
        return _emit(context, builder, call, data, values, shape)
    results = [
        builder.emit(_emit(context, builder, call, data, values[part], _part_shape(shape, values[part], index)))
        for index, part in enumerate(parts)
    ]
    return relax.op.concat(results, axis=1)


def _emit(
    context: LegalizeContext,
    builder: relax.BlockBuilder,
    call: relax.Call,
    data: relax.Expr,
    values: npt.NDArray[np.float32],
    shape: LayerShape,
) -> relax.Expr:
    batch = static_shape(data)[0]
    decision = context.decide(shape, batch)
    kernel, tile = decision.kernel, decision.kernel.tile
    assert isinstance(tile, Tile)
    task = ConvTask(shape=shape, tile=tile, padding=pair(call.attrs.padding), batch=batch)
    attrs = context.add_decided("conv", shape, batch, decision)
    matrix = values.reshape(values.shape[0], -1)
    if kernel.form == "dense":
        return call_te(
            builder,
            lambda x, w: dense_conv(x, w, task, attrs),
            [data, relax.const(pack_weight(matrix, task))],
            "depthwise" if shape.kind == "depthwise" else "conv",
        )
    strides = context.layouts.of(static_shape(data)).strides
    columns = np.arange(matrix.shape[1], dtype=np.int32) if kernel.lowering == "dense" else conv_columns(values)
    form = _table_form(kernel.form, values, columns, task, strides)
    return call_te(
        builder,
        lambda x, w, o: form.compute(x, w, o, task, attrs, strides=strides),
        [data, relax.const(pack_weight(form.matrix, task)), relax.const(form.offsets)],
        "conv" if kernel.lowering == "dense" else f"{kernel.lowering}_conv",
    )


@dataclass(frozen=True, kw_only=True)
class _TableForm:
    """A convolution that takes addresses from a table: its definition, the weights that it computes, the table."""

    compute: Callable[..., te.Tensor]
    matrix: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int32]


def _table_form(
    form: Lowering,
    values: npt.NDArray[np.float32],
    columns: npt.NDArray[np.int32],
    task: ConvTask,
    strides: tuple[int, ...],
) -> _TableForm:
    matrix, area = values.reshape(values.shape[0], -1), values[0, 0].size
    if form == "channel":
        channels = np.unique(columns // area)
        return _TableForm(
            compute=channel_conv,
            matrix=values[:, channels].reshape(values.shape[0], -1),
            offsets=(channels * strides[1]).astype(np.int32),
        )
    if form == "block":
        blocks = find_blocks(columns, values.shape[1], area)
        weights = block_weights(matrix, blocks, area)
        return _TableForm(compute=block_conv, matrix=weights, offsets=column_offsets(blocks, task, strides))
    kept, offsets = whole_columns(matrix[:, columns], column_offsets(columns, task, strides), task)
    return _TableForm(compute=column_conv, matrix=kept, offsets=offsets)


def _part_shape(shape: LayerShape, values: npt.NDArray[np.float32], index: int) -> LayerShape:
    columns = conv_columns(values)
    part = replace(shape, name=f"{shape.name}.{index}", c_out=values.shape[0], columns=columns.size, blocks=None)
    counts = column_counts(columns, values)
    return replace(part, read_channels=counts.get("read_channels"), blocks=counts.get("blocks"))


def _copy(x: te.Tensor) -> te.Tensor:
    return te.compute(x.shape, lambda *i: x[i], name="copy")
