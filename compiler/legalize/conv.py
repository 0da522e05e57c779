"""Convolutions become our TIR, by the lowering that `select` chose; split where a weight is too large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, te

from ..column_blocks import block_weights, count_channels, find_blocks
from ..latency_model import Lowering, has_blocks
from ..layer_shape import BLOCK_CHANNELS, LayerShape
from ..memory.activation_layouts import static_shape
from ..schedules.block_conv import block_conv
from ..schedules.channel_conv import channel_conv
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
    lowering = _table_lowering(context, shape, choice.lowering)
    if lowering == "block":
        tile = replace(tile, whole_rows=True)
    task = ConvTask(shape=shape, tile=tile, padding=pair(call.attrs.padding), batch=batch)
    attrs = context.add(Layer(kind="conv", shape=shape, choice=choice, tile=tile, batch=batch))
    matrix = values.reshape(values.shape[0], -1)
    if lowering == "dense":
        return call_te(
            builder,
            lambda x, w: dense_conv(x, w, task, attrs),
            [data, relax.const(pack_weight(matrix, task))],
            "depthwise" if shape.kind == "depthwise" else "conv",
        )
    strides = context.layouts.of(static_shape(data)).strides
    columns = np.arange(matrix.shape[1], dtype=np.int32) if choice.lowering == "dense" else _columns(values)
    form = _table_form(lowering, values, columns, task, strides)
    return call_te(
        builder,
        lambda x, w, o: form.compute(x, w, o, task, attrs, strides=strides),
        [data, relax.const(pack_weight(form.matrix, task)), relax.const(form.offsets)],
        "conv" if choice.lowering == "dense" else f"{choice.lowering}_conv",
    )


@dataclass(frozen=True, kw_only=True)
class _TableForm:
    """A convolution that takes addresses from a table: its definition, the weights that it computes, the table."""

    compute: Callable[..., te.Tensor]
    matrix: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int32]


def _table_form(
    lowering: Lowering,
    values: npt.NDArray[np.float32],
    columns: npt.NDArray[np.int32],
    task: ConvTask,
    strides: tuple[int, ...],
) -> _TableForm:
    matrix, area = values.reshape(values.shape[0], -1), values[0, 0].size
    if lowering == "channel":
        channels = np.unique(columns // area)
        return _TableForm(
            compute=channel_conv,
            matrix=values[:, channels].reshape(values.shape[0], -1),
            offsets=(channels * strides[1]).astype(np.int32),
        )
    if lowering == "block":
        blocks = find_blocks(columns, values.shape[1], area)
        weights = block_weights(matrix, blocks, area)
        return _TableForm(compute=block_conv, matrix=weights, offsets=column_offsets(blocks, task, strides))
    return _TableForm(compute=column_conv, matrix=matrix[:, columns], offsets=column_offsets(columns, task, strides))


def _tile_groups(shape: LayerShape) -> int:
    """Groups that a tile of filters must not cross; a depthwise tile shares no input in any case."""
    return 1 if shape.kind == "depthwise" else shape.groups


def _table_lowering(context: LegalizeContext, shape: LayerShape, chosen: Lowering) -> Lowering:
    """The form in which the chosen columns are computed.

    On a CPU a dense convolution, too, is faster by a table than by three loops: of blocks if it may be.
    """
    if chosen != "dense" or shape.kind != "conv" or shape.kernel == (1, 1) or is_gpu(context.target):
        return chosen
    return "block" if has_blocks(shape, context.target) else "column"


def _conv_shape(context: LegalizeContext, call: relax.Call, values: npt.NDArray[np.float32]) -> LayerShape:
    attrs, data = call.attrs, static_shape(call.args[0])
    groups = int(attrs.groups)
    depthwise = groups > 1 and groups == data[1]
    columns = np.arange(values[0].size, dtype=np.int32) if groups > 1 else _columns(values)
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
        columns=columns.size,
        **_column_counts(columns, values),
    )


def _part_shape(shape: LayerShape, values: npt.NDArray[np.float32], index: int) -> LayerShape:
    columns = _columns(values)
    part = replace(shape, name=f"{shape.name}.{index}", c_out=values.shape[0], columns=columns.size, blocks=None)
    counts = _column_counts(columns, values)
    return replace(part, read_channels=counts.get("read_channels"), blocks=counts.get("blocks"))


def _column_counts(columns: npt.NDArray[np.int32], values: npt.NDArray[np.float32]) -> dict[str, int]:
    """Channels and blocks that pruned columns fill; nothing where none is pruned."""
    channels, area = values.shape[1], values[0, 0].size
    if columns.size == values[0].size:
        return {}
    counts = {"read_channels": count_channels(columns, area)}
    return counts | ({"blocks": find_blocks(columns, channels, area).size} if channels >= BLOCK_CHANNELS else {})


def _columns(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """The kept columns; the first where all are zero, so that the layer stays a convolution."""
    columns = kept_columns(weight)
    return columns if columns.size else np.zeros(1, np.int32)


def _copy(x: te.Tensor) -> te.Tensor:
    return te.compute(x.shape, lambda *i: x[i], name="copy")
