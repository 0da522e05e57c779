"""Which values of a network are never negative: zeros beside them change no maximum of theirs."""

from __future__ import annotations

import tvm
from tvm import relax

__all__ = ["find_nonnegative"]

_KEEPING = (
    *("relax.nn.max_pool2d", "relax.nn.avg_pool2d", "relax.nn.dropout"),
    *("relax.concat", "relax.add", "relax.minimum"),
)


def find_nonnegative(module: tvm.IRModule) -> frozenset[relax.Var]:
    """Variables of ``main`` that hold no negative number, whatever the input is; not all of them are found."""
    found: set[relax.Var] = set()
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            if _is_nonnegative(binding.value, found):
                found.add(binding.var)
    return frozenset(found)


def _is_nonnegative(value: relax.Expr, found: set[relax.Var]) -> bool:
    if isinstance(value, relax.Var):
        return value in found
    if isinstance(value, relax.TupleGetItem):
        return _is_nonnegative(value.tuple_value, found)
    if isinstance(value, relax.Tuple):
        return all(_is_nonnegative(item, found) for item in value.fields)
    if isinstance(value, tvm.ir.GenericConst):
        return bool((value.value.numpy() >= 0).all())
    if not isinstance(value, relax.Call) or not isinstance(value.op, tvm.ir.Op):
        return False
    operands = (_is_nonnegative(operand, found) for operand in value.args)
    if value.op.name == "relax.maximum":
        return any(operands)
    return value.op.name == "relax.nn.relu" or (value.op.name in _KEEPING and all(operands))
