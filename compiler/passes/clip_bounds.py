"""Bounds of a clip become literals in the kernel.

TVM imports ``Clip(x, low, high)`` as TIR on bounds in memory, with a test of each for NaN that it would compile and run
to fold it:

    call_tir(maximum, x, where(isnan(low), -inf, low))   =>   max(x, low)

with ``low`` a constant without dimensions, which becomes part of the kernel. Bounds that are not constant stay.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax

__all__ = ["inline_clip_bounds"]

_EVALUATED: Final = MappingProxyType[str, Callable[..., Any]]({"relax.isnan": np.isnan, "relax.where": np.where})
# By the name of the function that TVM's importer makes of a clip's half, with a number behind it.
_CLIPPING: Final = MappingProxyType({"maximum": relax.op.maximum, "minimum": relax.op.minimum})


def inline_clip_bounds(module: tvm.IRModule) -> tvm.IRModule:
    """The module with constant bounds as scalars; what is computed stays the same."""
    mutator = _Bounds(module)
    mutator.builder_.update_func(module.get_global_var("main"), mutator.visit_expr(module["main"]))
    return relax.transform.DeadCodeElimination()(mutator.builder_.get())


@relax.expr_functor.mutator
class _Bounds(relax.PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        name = call.op.name if isinstance(call.op, tvm.ir.Op) else ""
        if name in _EVALUATED:
            values = [self._constant(argument) for argument in call.args]
            known = [value for value in values if value is not None]
            return relax.const(_EVALUATED[name](*known)) if len(known) == len(values) else call
        return self._clipped(call) if name == "relax.call_tir" else call

    def _clipped(self, call: relax.Call) -> relax.Expr:
        clip = _CLIPPING.get(str(call.args[0].name_hint).rstrip("0123456789_"))
        arguments = list(call.args[1].fields)
        if clip is None or len(arguments) != 2:
            return call
        bound = self._constant(arguments[1])
        return call if bound is None or bound.size != 1 else clip(arguments[0], relax.const(bound.reshape(())))

    def _constant(self, expr: relax.Expr) -> npt.NDArray[Any] | None:
        found = self.lookup_binding(expr) if isinstance(expr, relax.Var) else expr
        return found.value.numpy() if isinstance(found, tvm.ir.GenericConst) else None
