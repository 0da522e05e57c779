"""Store whole vectors at the end of a row that is no multiple of the vector: zeros behind the row instead of a guard.

    if j < width: out[..., j] = value      =>      out[..., j] = select(j < width, value, 0)

The first form is stored element by element, each with its own comparison. The second is one vector store; it needs rows
that are long enough in memory (`Layout.row`), and what lies behind a row is a halo of zeros anyway.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import s_tir, tirx

__all__ = ["fill_rows"]


def fill_rows(func: tirx.PrimFunc, block: str, lane: tvm.ir.Var, width: int) -> tirx.PrimFunc:
    """Drop the guard on the last index of a storing block and select zero instead.

    Args:
        func: Scheduled function.
        block: Name of the block; its last axis runs along the row.
        lane: Variable of the vectorized loop.
        width: Elements of a row.
    """

    def replace(realize: s_tir.SBlockRealize) -> s_tir.SBlockRealize:
        inner = realize.block
        if inner.name_hint != block:
            return realize
        kept = [term for term in _conjunction(realize.predicate) if not _mentions(term, lane)]
        store = inner.body
        inside = tirx.Cast("int32", realize.iter_values[-1]) < tirx.IntImm("int32", width)
        value = tirx.Select(inside, store.value, tirx.const(0.0, "float32"))
        body = tirx.BufferStore(store.buffer, value, store.indices)
        selected = s_tir.SBlock(
            inner.iter_vars,
            inner.reads,
            inner.writes,
            inner.name_hint,
            body,
            inner.init,
            inner.alloc_buffers,
            inner.match_buffers,
            inner.annotations,
        )
        return s_tir.SBlockRealize(realize.iter_values, tirx.all(*kept) if kept else True, selected)

    return tvm_ffi.structural_map(func, (s_tir.SBlockRealize, replace))


def _conjunction(predicate: tvm.ir.Expr) -> list[tvm.ir.Expr]:
    if isinstance(predicate, tirx.And):
        return [*_conjunction(predicate.a), *_conjunction(predicate.b)]
    return [predicate]


def _mentions(expr: tvm.ir.Expr, variable: tvm.ir.Var) -> bool:
    found: list[bool] = []

    def visit(node: tvm.ir.Var) -> None:
        found.append(node.same_as(variable))

    tvm_ffi.structural_walk(expr, (tvm.ir.Var, visit))
    return any(found)
