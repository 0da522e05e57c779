"""Gathers by a constant table become our TIR: TVM's own definition warns of every one that it cannot check.

TVM's importer wraps a table to count negative indices from the end, which would be computed by compiled functions; our
importer has done that (`passes.channel_gathers`), so the table inside is taken as it is.
"""

from __future__ import annotations

import tvm
from tvm import relax, te
from tvm.ir import Expr

from ..memory.activation_layouts import static_shape
from .context import LegalizeContext, default_legalization

__all__ = ["find_tables", "legalize_take"]


def find_tables(module: tvm.IRModule) -> dict[str, relax.Expr]:
    """Constants that ``where(table < 0, table + size, table)`` equals, by the name of that value."""
    bindings = (binding for block in module["main"].body.blocks for binding in block.bindings)
    return {
        binding.var.name: binding.value.args[2]
        for binding in bindings
        if isinstance(binding.value, relax.Call)
        and isinstance(binding.value.op, tvm.ir.Op)
        and binding.value.op.name == "relax.where"
        and _is_table(binding.value.args[2])
    }


def legalize_take(context: LegalizeContext, builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Indices along one axis by a table, or by one index."""
    data, table = call.args[:2]
    if isinstance(table, relax.Var):
        table = context.tables.get(table.name, table)
    if not _is_table(table) or len(static_shape(table)) > 1 or call.attrs.axis is None:
        return default_legalization(builder, call)
    axis, rank = int(call.attrs.axis) % len(static_shape(data)), len(static_shape(table))

    def gather(x: te.Tensor, indices: te.Tensor) -> te.Tensor:
        def element(*index: Expr) -> Expr:
            place = indices[index[axis]] if rank else indices()
            return x[(*index[:axis], place, *index[axis + rank :])]

        return te.compute([int(size) for size in call.ty.shape], element, name="gather")

    return builder.call_te(gather, data, table, primfunc_name_hint="gather")


def _is_table(expr: relax.Expr) -> bool:
    """Whether a value is a table that our importer wrote: int32, counted from 0."""
    if not isinstance(expr, tvm.ir.GenericConst) or str(expr.ty.dtype) != "int32":
        return False
    values = expr.value.numpy()
    return bool(values.size and values.min() >= 0)
