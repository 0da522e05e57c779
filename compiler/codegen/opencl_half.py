"""Half floats in OpenCL C without the extension for half arithmetic: `vload_half` and `vstore_half` are core.

    cast(float32x4, p[ramp(i, 1, 4)])        =>  vload_half4(0, p + i)
    p[ramp(i, 1, 4)] = cast(float16x4, v)    =>  vstore_half4(v, 0, p + i)

Neither needs more alignment than a half's. Works on a device function that is otherwise ready for code generation, in
which half elements are loaded and stored as `half_storage` writes them.
"""

from __future__ import annotations

import re

import tvm
import tvm_ffi
from tvm import tirx

from ..errors import CompileError
from .half_storage import dtype_of, is_half

__all__ = ["spell_halves", "without_extension"]

_VECTOR_LANES = (2, 3, 4, 8, 16)
_EXTENSION = re.compile(r"#ifdef cl_khr_fp16\n.*?#endif\n+", re.DOTALL)


def spell_halves(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with half loads and stores as calls; no other half expression is left.

    Raises:
        CompileError: If a vector of halves is stored to elements that are not neighbours.
    """
    if not any(_points_to_half(param) for param in func.params):
        return func
    scattered: list[tvm.ir.Expr] = []  # an exception must not pass through the map: it ends in a crash

    def store(node: tirx.BufferStore) -> tirx.Stmt:
        if not is_half(node.buffer):
            return node
        found = _store(node)
        if found is None:
            scattered.append(node.indices[0])
        return found or node

    callbacks = (
        (tvm.ir.TensorLoad, lambda node: _load(node) if is_half(node) else node),
        (tirx.Cast, _cast),
        (tirx.FloatImm, lambda node: tirx.FloatImm("float32", node.value) if is_half(node) else node),
        (tirx.Broadcast, lambda node: tirx.Broadcast(node.value, node.lanes) if is_half(node) else node),
        (tirx.BufferStore, store),
    )
    spelled = tvm_ffi.structural_map(func, callbacks)
    if scattered:
        raise CompileError(f"halves are stored to neighbours only, not to {scattered[0]}")
    return spelled


def without_extension(source: str) -> str:
    """The program without the lines that refuse devices which cannot compute in half."""
    return _EXTENSION.sub("", source)


def _points_to_half(param: tvm.ir.Var) -> bool:
    return is_half(param) if hasattr(param.ty, "dtype") else "float16" in str(param.ty)


def _cast(node: tirx.Cast) -> tvm.ir.Expr:
    """Casts between half and float32 vanish: both sides are float32 now."""
    if dtype_of(node.value) == dtype_of(node).replace("float16", "float32"):
        return node.value
    return node


def _load(node: tvm.ir.TensorLoad) -> tvm.ir.Expr:
    (index,) = node.indices
    if isinstance(index, tirx.Broadcast):
        return tirx.Broadcast(_scalar(node.source, index.value), index.lanes)
    if not isinstance(index, tirx.Ramp):
        return _scalar(node.source, index)
    lanes = int(index.lanes)
    if _is_one(index.stride) and lanes in _VECTOR_LANES:
        return _call(f"float32x{lanes}", f"vload_half{lanes}", node.source, index.base)
    elements = [_scalar(node.source, index.base + lane * index.stride) for lane in range(lanes)]
    return tirx.call_pure_extern(f"float32x{lanes}", f"(float{lanes})", *elements)


def _scalar(buffer: tvm.ir.Var, index: tvm.ir.Expr) -> tvm.ir.Expr:
    return _call("float32", "vload_half", buffer, index)


def _call(dtype: str, name: str, buffer: tvm.ir.Var, index: tvm.ir.Expr) -> tvm.ir.Expr:
    return tirx.call_pure_extern(dtype, name, 0, tirx.address_of(tirx.BufferLoad(buffer, [index])))


def _store(node: tirx.BufferStore) -> tirx.Stmt | None:
    """The call; None where elements are not neighbours."""
    (index,) = node.indices
    suffix = ""
    if isinstance(index, tirx.Ramp):
        if not _is_one(index.stride) or int(index.lanes) not in _VECTOR_LANES:
            return None
        suffix, index = str(int(index.lanes)), index.base
    address = tirx.address_of(tirx.BufferLoad(node.buffer, [index]))
    return tirx.Evaluate(tirx.call_extern("int32", f"vstore_half{suffix}", node.value, 0, address))


def _is_one(expr: tvm.ir.Expr) -> bool:
    return isinstance(expr, tirx.IntImm) and int(expr.value) == 1
