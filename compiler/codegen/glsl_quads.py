"""Loads of four neighbours at once, where an address is known to be a multiple of four.

    w[16 * k + 5]   =>   vec4 q = w_quads[(16 * k >> 2) + 1];  … q.y

A second declaration of a read-only binding, as an array of vectors, is what makes them one load.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import tvm
from tvm import tirx

__all__ = ["QUAD", "Address", "split_address", "split_constant"]

QUAD = 4


@dataclass(frozen=True)
class Address:
    """A sum of terms that are multiples of four, and a constant."""

    terms: tuple[tvm.ir.Expr, ...]
    constant: int


def split_address(index: tvm.ir.Expr) -> Address | None:
    """The address as such a sum; None if it cannot be seen that it is one."""
    terms: list[tvm.ir.Expr] = []
    constant, stack = 0, [index]
    while stack:
        node = stack.pop()
        if isinstance(node, tirx.IntImm):
            constant += int(node.value)
        elif isinstance(node, tirx.Add):
            stack += [node.b, node.a]
        elif isinstance(node, tirx.Sub) and isinstance(node.b, tirx.IntImm):
            constant -= int(node.b.value)
            stack.append(node.a)
        elif _divisor(node) % QUAD == 0:
            terms.append(node)
        else:
            return None
    return Address(tuple(terms), constant)


def split_constant(index: tvm.ir.Expr) -> tuple[tvm.ir.Expr, int]:
    """The address without the constants added at its end, and their sum."""
    if isinstance(index, tirx.Add) and isinstance(index.b, tirx.IntImm):
        rest, constant = split_constant(index.a)
        return rest, constant + int(index.b.value)
    if isinstance(index, tirx.Sub) and isinstance(index.b, tirx.IntImm):
        rest, constant = split_constant(index.a)
        return rest, constant - int(index.b.value)
    return index, 0


def _divisor(expr: tvm.ir.Expr) -> int:
    """A number that divides the value of an expression, whatever its variables are; 0 for the constant 0."""
    if isinstance(expr, tirx.IntImm):
        return abs(int(expr.value))
    if isinstance(expr, tirx.Mul):
        return _divisor(expr.a) * _divisor(expr.b)
    if isinstance(expr, tirx.Add | tirx.Sub):
        return gcd(_divisor(expr.a), _divisor(expr.b))
    if isinstance(expr, tirx.LShift) and isinstance(expr.b, tirx.IntImm):
        return _divisor(expr.a) << int(expr.b.value)
    return 1
