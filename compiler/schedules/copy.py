"""Copy a tensor element by element in row-major order, whatever the shapes and layouts are; scheduled by `generic`.

y[i] = x[i],     or, where the shapes differ,     y[unravel(k)] = x[unravel(k)]
"""

from __future__ import annotations

from tvm import te, tirx
from tvm.ir import Expr

__all__ = ["copy_function"]


def copy_function(source: tuple[int, ...], destination: tuple[int, ...], dtype: str) -> tirx.PrimFunc:
    """A function of two parameters of as many elements."""
    x = te.placeholder(source, dtype, name="x")

    def element(*index: Expr) -> Expr:
        flat: Expr | int = 0
        for position, size in zip(index, destination, strict=True):
            flat = flat * size + position
        return x[tuple(_unravel(flat, source))]

    y = te.compute(destination, element if source != destination else lambda *i: x[i], name="copy")
    return te.create_prim_func([x, y])


def _unravel(flat: Expr | int, shape: tuple[int, ...]) -> list[Expr | int]:
    index: list[Expr | int] = []
    for axis in range(len(shape) - 1, -1, -1):
        index.insert(0, te.indexmod(flat, shape[axis]) if axis else flat)
        flat = te.indexdiv(flat, shape[axis])
    return index
