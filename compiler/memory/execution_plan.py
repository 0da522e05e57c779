"""Static memory: every tensor gets an offset, weights in one blob, the rest in one arena.

Tensors that are not alive in the same step share memory (`arena`); a part of a tensor has the memory of the whole,
which is alive from its first part's writing on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..lowered import LoweredNetwork, LoweredStep, Tensor
from .arena import Block, peak_bytes, place

__all__ = ["ALIGNMENT_BYTES", "MemoryPlan", "plan_memory", "step_bytes", "weight_blob"]

ALIGNMENT_BYTES = 1024


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Where everything lies.

    Attributes:
        tensors: All tensors in order of first use; the input is first.
        offsets: Their byte offsets, in the weight blob or in the arena.
        arena_bytes: Size of the arena.
        peak_live_bytes: Largest sum of tensors alive in one step, as they are stored; no arena can be smaller.
        weight_bytes: Size of the weight blob.
    """

    tensors: tuple[Tensor, ...]
    offsets: tuple[int, ...]
    arena_bytes: int
    peak_live_bytes: int
    weight_bytes: int


@dataclass(frozen=True)
class _Life:
    """Steps in which a tensor holds a value, both inclusive."""

    tensor: Tensor
    first: int
    last: int

    def block(self) -> Block:
        return Block(size=self.tensor.size_bytes, first=self.first, last=self.last)


def plan_memory(network: LoweredNetwork) -> MemoryPlan:
    """Assign offsets to all tensors of a network."""
    tensors = _tensors(network)
    offsets: dict[Tensor, int] = {}
    weight_bytes = 0
    for tensor in tensors:
        if tensor.data is not None:
            offsets[tensor] = _align(weight_bytes)
            weight_bytes = offsets[tensor] + tensor.size_bytes
    lives = _lives(network, tensors)
    blocks = [life.block() for life in lives]
    placement = place(blocks, alignment=ALIGNMENT_BYTES)
    offsets.update((life.tensor, offset) for life, offset in zip(lives, placement.offsets, strict=True))
    return MemoryPlan(
        tensors=tensors,
        offsets=tuple(offsets[tensor] for tensor in tensors),
        arena_bytes=placement.size,
        peak_live_bytes=peak_bytes(blocks),
        weight_bytes=weight_bytes,
    )


def _tensors(network: LoweredNetwork) -> tuple[Tensor, ...]:
    used = [tensor.buffer for step in network.steps for tensor in step.arguments]
    return tuple(dict.fromkeys([network.input, *used, network.output]))


def _lives(network: LoweredNetwork, tensors: Sequence[Tensor]) -> list[_Life]:
    """The input stays intact for the whole run, so that a package can run again on the same input."""
    first: dict[Tensor, int] = {}
    last: dict[Tensor, int] = {}
    for index, step in enumerate(network.steps):
        for tensor in (argument.buffer for argument in step.arguments):
            first.setdefault(tensor, index)
            last[tensor] = index
    end = len(network.steps)
    first[network.input], last[network.input], last[network.output] = 0, end, end
    return [_Life(tensor, first[tensor], last[tensor]) for tensor in tensors if tensor.data is None]


def step_bytes(step: LoweredStep) -> int:
    """Bytes of all tensors, or parts of them, that a step reads and writes, each once."""
    return sum(tensor.size_bytes for tensor in dict.fromkeys(step.arguments))


def weight_blob(plan: MemoryPlan) -> bytes:
    """All weights at their offsets, zeros between them."""
    parts: list[bytes | memoryview] = []
    end = 0
    for offset, tensor in sorted(zip(plan.offsets, plan.tensors, strict=True), key=lambda pair: pair[0]):
        if tensor.data is not None:
            parts += [bytes(offset - end), np.ascontiguousarray(tensor.data).reshape(-1).view(np.uint8).data]
            end = offset + tensor.size_bytes
    return b"".join(parts)


def _align(offset: int) -> int:
    return -(-offset // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
