"""Which columns a convolution's kernel computes, and how it finds them; by modelled cost, with the reason.

=========  ==========================================================================================
lowering   the kernel computes
=========  ==========================================================================================
dense      every column, zeros too
channel    every column of the input channels that any filter reads; their addresses are in a table
column     the kept columns; the address of each is in a table
block      blocks of four neighbouring channels at one kernel position that hold all kept columns; the
           address of each block is in a table
=========  ==========================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

from .latency_model import Lowering, lowering_costs
from .layer_shape import BLOCK_CHANNELS, LayerShape
from .targets import Target

__all__ = ["Choice", "choose_lowering"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A lowering, and why."""

    lowering: Lowering
    reason: str
    modelled_us: float


def choose_lowering(shape: LayerShape, target: Target) -> Choice:
    """The lowering with the smallest modelled cost on ``target``; of equal ones the simplest.

    Args:
        shape: The layer with its kept columns, and the channels and blocks that these fill.
        target: What it will run on.
    """
    costs = lowering_costs(shape, target)
    lowering = min(costs, key=lambda name: costs[name].modelled_us)
    modelled_us = costs[lowering].modelled_us
    if shape.is_dense:
        return Choice(lowering=lowering, reason="no zero columns", modelled_us=modelled_us)
    kept = _kept(shape)
    if shape.groups != 1:
        return Choice(lowering=lowering, reason=f"{kept}, but grouped: no column kernel", modelled_us=modelled_us)
    compared = ", ".join(f"{name} {cost.modelled_us:.1f} us" for name, cost in costs.items())
    return Choice(lowering=lowering, reason=f"{kept}: {compared} modelled", modelled_us=modelled_us)


def _kept(shape: LayerShape) -> str:
    text = f"{shape.columns} of {shape.dense_columns} columns kept"
    if shape.read_channels is not None and shape.read_channels < shape.c_in:
        text += f" in {shape.read_channels} of {shape.c_in} channels"
    if shape.blocks is not None:
        text += f", in {shape.blocks} blocks of {BLOCK_CHANNELS}"
    return text
