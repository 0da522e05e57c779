"""Arithmetic that spreads the small result of a layer over a larger value stays apart from that layer's kernel.

    conv (N, C, 1, 1) -> sigmoid -> * x (N, C, H, W)   =>   the layer with its sigmoid, then the product

TVM would fuse the product too (squeeze and excitation), and a work-item that has one filter would do its whole plane.
"""

from __future__ import annotations

import tvm
from tvm import relax, topi

from ..memory.activation_layouts import static_shape
from .context import OUT_ELEMENTWISE_FUSABLE, default_legalization

__all__ = ["BROADCASTS", "legalize_broadcast"]

INJECTIVE = 2  # TVM's pattern kind that no layer takes in, and that takes elementwise neighbours in
BROADCASTS = {
    "relax.add": topi.add,
    "relax.subtract": topi.subtract,
    "relax.multiply": topi.multiply,
    "relax.divide": topi.divide,
    "relax.maximum": topi.maximum,
    "relax.minimum": topi.minimum,
}


def legalize_broadcast(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """TVM's definition, marked so that it does not join a layer whose result it spreads."""
    shape = tuple(int(size) for size in call.ty.shape)
    if not any(isinstance(item, relax.Var) and _spreads(builder, item, shape) for item in call.args):
        return default_legalization(builder, call)
    name = call.op.name.removeprefix("relax.")
    return builder.call_te(
        BROADCASTS[call.op.name], *call.args, primfunc_name_hint=name, primfunc_attrs={"op_pattern": INJECTIVE}
    )


def _spreads(builder: relax.BlockBuilder, item: relax.Var, shape: tuple[int, ...]) -> bool:
    """Whether the item is smaller than the result, and a layer's kernel with elementwise operators makes it."""
    small = static_shape(item)
    if small == shape:
        return False
    pending: list[relax.Expr] = [item]
    while pending:
        expr = pending.pop()
        value = builder.lookup_binding(expr) if isinstance(expr, relax.Var) else None
        if not isinstance(value, relax.Call) or not isinstance(value.op, tvm.ir.Op):
            continue
        if value.op.name == "relax.call_tir":
            function = builder.get()[value.args[0]]
            if function.attrs is not None and int(function.attrs.get("op_pattern", -1)) == OUT_ELEMENTWISE_FUSABLE:
                return True
            pending += [argument for argument in value.args[1].fields if static_shape(argument) == small]
    return False
