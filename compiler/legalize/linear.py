"""Linear layers become our TIR, split by output features where a weight is larger than the target's buffers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax

from ..layer_shape import LayerShape
from ..memory.activation_layouts import static_shape
from ..schedules.linear import LinearTile, choose_linear_tile, linear, pack_linear_weight
from .context import FLOAT_BYTES, LegalizeContext, call_te, default_legalization

__all__ = ["legalize_matmul"]


def legalize_matmul(context: LegalizeContext, builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Rows, of any number of dimensions, times a constant matrix; any other product gets TVM's own definition."""
    data, weight = call.args
    if not isinstance(weight, tvm.ir.GenericConst) or len(static_shape(data)) < 2 or len(static_shape(weight)) != 2:
        return default_legalization(builder, call)
    values = weight.value.numpy()
    name = context.name(values, "linear")
    tile = choose_linear_tile(values.shape[1], context.target)
    step = tile.vectors * tile.lanes * tile.work_items
    parts = context.parts(values.shape[1], step, values.shape[0] * FLOAT_BYTES)
    if len(parts) == 1:
        return _emit(context, builder, data, values, name)
    # On axis 1 the parts are written side by side (`concat_plan`).
    results = [
        builder.emit(_emit(context, builder, data, values[:, part], f"{name}.{index}"))
        for index, part in enumerate(parts)
    ]
    return relax.op.concat(results, axis=-1)


def _emit(
    context: LegalizeContext,
    builder: relax.BlockBuilder,
    data: relax.Expr,
    values: npt.NDArray[np.float32],
    name: str,
) -> relax.Expr:
    shape = LayerShape(
        name=name,
        kind="linear",
        c_in=values.shape[0],
        c_out=values.shape[1],
        kernel=(1, 1),
        stride=(1, 1),
        padding=(0, 0),
        dilation=(1, 1),
        groups=1,
        input_hw=(1, 1),
        output_hw=(1, 1),
        columns=values.shape[0],
    )
    rows = int(np.prod(static_shape(data)[:-1]))
    decision = context.decide(shape, rows)
    tile = decision.kernel.tile
    assert isinstance(tile, LinearTile)
    attrs = context.add_decided("linear", shape, rows, decision)
    packed = relax.const(pack_linear_weight(values, tile))
    return call_te(builder, lambda x, w: linear(x, w, values.shape[1], attrs), [data, packed], "linear")
