"""Convolutions become our TIR: dense, grouped, depthwise or packed columns, split where a weight is too large."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, te

from ..layer_shape import LayerShape
from ..memory.activation_layouts import static_shape
from ..schedules.conv import ConvTask, column_conv, column_offsets, dense_conv, pack_weight
from ..schedules.tile import choose_tile, depthwise_tile, is_gpu
from ..select import choose_lowering
from ..zero_columns import kept_columns
from .context import FLOAT_BYTES, Layer, LegalizeContext, call_te, default_legalization, pair

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
    shape = _conv_shape(context, call, values)
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
    choice = choose_lowering(shape, context.target)
    batch = static_shape(data)[0]
    tile = choose_tile(shape.c_out, shape.output_hw, batch, context.target, groups=_tile_groups(shape))
    if shape.kind == "depthwise":
        tile = depthwise_tile(tile, context.target)
    task = ConvTask(shape=shape, tile=tile, padding=pair(call.attrs.padding), batch=batch)
    attrs = context.add(Layer(kind="conv", shape=shape, choice=choice, tile=tile, batch=batch))
    matrix = values.reshape(values.shape[0], -1)
    if choice.lowering == "dense" and not _reads_table(context, shape):
        return call_te(
            builder,
            lambda x, w: dense_conv(x, w, task, attrs),
            [data, relax.const(pack_weight(matrix, task))],
            "depthwise" if shape.kind == "depthwise" else "conv",
        )
    is_column = choice.lowering == "column"
    columns = _columns(values) if is_column else np.arange(matrix.shape[1], dtype=np.int32)
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


def _tile_groups(shape: LayerShape) -> int:
    """Groups that a tile of filters must not cross; a depthwise tile shares no input in any case."""
    return 1 if shape.kind == "depthwise" else shape.groups


def _reads_table(context: LegalizeContext, shape: LayerShape) -> bool:
    """Whether a dense convolution, too, takes addresses from a table: on a CPU it is faster than three loops."""
    return shape.kind == "conv" and shape.kernel != (1, 1) and not is_gpu(context.target)


def _conv_shape(context: LegalizeContext, call: relax.Call, values: npt.NDArray[np.float32]) -> LayerShape:
    attrs, data = call.attrs, static_shape(call.args[0])
    groups = int(attrs.groups)
    depthwise = groups > 1 and groups == data[1]
    columns = values[0].size if groups > 1 else _columns(values).size
    padding = [int(p) for p in attrs.padding]
    return LayerShape(
        name=context.name(values, "conv"),
        kind="depthwise" if depthwise else "conv",
        c_in=data[1],
        c_out=values.shape[0],
        kernel=(values.shape[2], values.shape[3]),
        stride=pair(attrs.strides),
        padding=(max(padding[0], padding[2]), max(padding[1], padding[3])),
        dilation=pair(attrs.dilation),
        groups=groups,
        input_hw=(data[2], data[3]),
        output_hw=(int(call.ty.shape[2]), int(call.ty.shape[3])),
        columns=columns,
    )


def _part_shape(shape: LayerShape, values: npt.NDArray[np.float32], index: int) -> LayerShape:
    return replace(shape, name=f"{shape.name}.{index}", c_out=values.shape[0], columns=_columns(values).size)


def _columns(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """The kept columns; the first where all are zero, so that the layer stays a convolution."""
    columns = kept_columns(weight)
    return columns if columns.size else np.zeros(1, np.int32)


def _copy(x: te.Tensor) -> te.Tensor:
    return te.compute(x.shape, lambda *i: x[i], name="copy")
