"""Operators that change a value's dimensions: where its channels are afterwards.

Each rule takes the node, its input's channels, and the shapes before and after; it gives the same units along another
dimension, or None where a channel's numbers do not stay together and in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from torch import fx

from .operators import TRANSPOSITIONS, argument
from .units import Channels

__all__ = ["AxisRule", "Shape", "reduced", "reshaped", "transposed"]

Shape: TypeAlias = tuple[int, ...]
AxisRule: TypeAlias = Callable[[fx.Node, Channels, Shape, Shape], Channels | None]


def reshaped(_: fx.Node, value: Channels, before: Shape, after: Shape) -> Channels | None:
    """Flatten, reshape, squeeze: what comes before the channels stays, or they are flattened with what follows."""
    axis = value.axis
    if after[: axis + 1] == before[: axis + 1]:
        return value
    if axis == 1 and len(after) == 2 and after[1] == np.prod(before[1:]):
        return replace(value, units=np.repeat(value.units, after[1] // before[1]))
    if axis == len(before) - 1 and after[-1] == before[-1]:
        return replace(value, axis=len(after) - 1)
    return None


def transposed(node: fx.Node, value: Channels, _: Shape, after: Shape) -> Channels | None:
    """Permute and transpose, the batch staying first."""
    rank = len(after)
    numbers: Any = list(node.args[1:]) or list(node.kwargs.values())
    numbers = list(numbers[0]) if len(numbers) == 1 and isinstance(numbers[0], tuple | list) else numbers
    if not all(isinstance(number, int) for number in numbers):
        return None
    order = [number % rank for number in numbers]
    if node.target in TRANSPOSITIONS:
        swapped = list(range(rank))
        swapped[order[0]], swapped[order[1]] = order[1], order[0]
        order = swapped
    return replace(value, axis=order.index(value.axis)) if order[0] == 0 else None


def reduced(node: fx.Node, value: Channels, before: Shape, after: Shape) -> Channels | None:
    """Means and sums over dimensions that hold neither the batch nor the channels."""
    dimensions = argument(node, 1, "dim")
    if dimensions is None:
        return None
    rank = len(before)
    given = [dimensions] if isinstance(dimensions, int) else list(dimensions)
    gone = {number % rank for number in given if isinstance(number, int)}
    if len(gone) != len(given) or 0 in gone or value.axis in gone:
        return None
    passed = sum(number < value.axis for number in gone) if len(after) < rank else 0
    return replace(value, axis=value.axis - passed)
