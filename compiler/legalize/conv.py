"""Convolutions become our TIR: dense, grouped, depthwise or packed columns, split where a weight is too large."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, te

from ..conv_call import conv_columns, conv_shape, pair
from ..layer_shape import LayerShape
from ..memory.activation_layouts import static_shape
from ..schedules.conv import ConvTask, column_conv, column_offsets, dense_conv, pack_weight
from ..schedules.tile import Tile
from .context import FLOAT_BYTES, LegalizeContext, call_te, default_legalization

__all__ = ["legalize_conv"]

# Parts of a layer that is split have a multiple of every tile's filters, so that none is padded.
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
    if isinstance(data, relax.Var) and data.name in context.inputs:
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
    is_column = kernel.lowering == "column"
    columns = conv_columns(values) if is_column else np.arange(matrix.shape[1], dtype=np.int32)
    strides = context.layouts.of(static_shape(data)).strides
    return call_te(
        builder,
        lambda x, w, o: column_conv(x, w, o, task, attrs, strides=strides),
        [
            data,
            relax.const(pack_weight(matrix[:, columns], task)),
            relax.const(column_offsets(columns, task, strides)),
        ],
        "column_conv" if is_column else "conv",
    )


def _part_shape(shape: LayerShape, values: npt.NDArray[np.float32], index: int) -> LayerShape:
    return replace(shape, name=f"{shape.name}.{index}", c_out=values.shape[0], columns=conv_columns(values).size)


def _copy(x: te.Tensor) -> te.Tensor:
    return te.compute(x.shape, lambda *i: x[i], name="copy")
