"""Which lowering a convolution gets: dense, or packed columns; by modelled cost, with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from .latency_model import Lowering, lowering_costs
from .layer_shape import LayerShape
from .targets import Target

__all__ = ["Choice", "choose_lowering"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A lowering, and why."""

    lowering: Lowering
    reason: str
    modelled_us: float


def choose_lowering(shape: LayerShape, target: Target) -> Choice:
    """The lowering with the smaller modelled cost on ``target``.

    Args:
        shape: The layer with its kept columns.
        target: What it will run on.
    """
    costs = lowering_costs(shape, target)
    dense = costs["dense"].modelled_us
    if "column" not in costs:
        return Choice(lowering="dense", reason="no zero columns", modelled_us=dense)
    kept = f"{shape.columns} of {shape.dense_columns} columns kept"
    if shape.groups != 1:
        return Choice(lowering="dense", reason=f"{kept}, but grouped: no column kernel", modelled_us=dense)
    column = costs["column"].modelled_us
    compared = f"{kept}: column {column:.1f} us, dense {dense:.1f} us modelled"
    if column < dense:
        return Choice(lowering="column", reason=compared, modelled_us=column)
    return Choice(lowering="dense", reason=compared, modelled_us=dense)
