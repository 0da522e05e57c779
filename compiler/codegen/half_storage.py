"""Half storage in TIR: chosen parameters are float16 in memory, and every value is float32 in registers.

    x[i]  =>  cast(float32, x[i])            y[i] = value  =>  y[i] = cast(float16, value)

Done to scheduled functions, so that no schedule needs to know of it. Half elements then appear under these casts and
nowhere else; how a language spells them is its code generator's business (`opencl_half`).
"""

from __future__ import annotations

from collections.abc import Sequence

import tvm
import tvm_ffi
from tvm import tirx

__all__ = ["dtype_of", "is_half", "store_parameters"]


def store_parameters(func: tirx.PrimFunc, dtypes: Sequence[str]) -> tirx.PrimFunc:
    """The function with parameters of the given types in memory; computing types stay.

    Args:
        func: Scheduled, not yet lowered.
        dtypes: One for each parameter; ``float16`` where it is ``float32`` now, else its own.
    """
    if len(func.params) != len(dtypes):
        raise ValueError(f"{len(dtypes)} types for {len(func.params)} parameters")
    halves = [
        (old, old.with_dtype("float16"))
        for old, dtype in zip(func.params, dtypes, strict=True)
        if dtype == "float16" and not is_half(old)
    ]
    if not halves:
        return func

    def variable(old: tvm.ir.Var) -> tvm.ir.Var:
        return next((new for known, new in halves if known.same_as(old)), old)

    def load(node: tvm.ir.TensorLoad) -> tvm.ir.Expr:
        if not any(new.same_as(node.source) for _, new in halves):
            return node
        return tirx.Cast("float32", tirx.BufferLoad(node.source, node.indices))

    def store(node: tirx.BufferStore) -> tirx.Stmt:
        if not any(new.same_as(node.buffer) for _, new in halves):
            return node
        return tirx.BufferStore(node.buffer, tirx.Cast("float16", node.value), node.indices)

    callbacks = ((tvm.ir.Var, variable), (tvm.ir.TensorLoad, load), (tirx.BufferStore, store))
    return tvm_ffi.structural_map(func, callbacks)


def is_half(expr: tvm.ir.Expr) -> bool:
    """Whether an expression, or a buffer's element, is a half float or a vector of them."""
    return dtype_of(expr).startswith("float16")


def dtype_of(expr: tvm.ir.Expr) -> str:
    """Type of an expression, or of a buffer's elements, as TVM writes it: `float32x4`."""
    return str(expr.ty.dtype)
