"""Static memory: every tensor gets an offset, weights in one blob, the rest in one arena.

Tensors that are not alive in the same step share memory, first fit, largest first. A tensor with a halo shares only
with tensors of the same layout, in a slot of its own: the halo's zeros, which the first step writes, must stay. A part
of a tensor has the memory of the whole, which is alive from its first part's writing on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .lower import LoweredNetwork, LoweredStep, Tensor

__all__ = ["ALIGNMENT_BYTES", "MemoryPlan", "plan_memory"]

ALIGNMENT_BYTES = 1024
ITEM_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Where everything lies.

    Attributes:
        tensors: All tensors in order of first use; the input is first.
        offsets: Their byte offsets, in the weight blob or in the arena.
        arena_bytes: Size of the arena.
        weights: The weight blob.
        halo_offset: Where slots of tensors with a halo begin in the arena, to its end.
        halo_cells: Elements to set to zero before the first step, counted from ``halo_offset``.
    """

    tensors: tuple[Tensor, ...]
    offsets: tuple[int, ...]
    arena_bytes: int
    weights: bytes
    halo_offset: int
    halo_cells: npt.NDArray[np.int32]


@dataclass(frozen=True)
class _Life:
    """Steps in which a tensor holds a value, both inclusive."""

    tensor: Tensor
    first: int
    last: int

    def overlaps(self, other: _Life) -> bool:
        return self.first <= other.last and other.first <= self.last


def plan_memory(network: LoweredNetwork) -> MemoryPlan:
    """Assign offsets to all tensors of a network."""
    tensors = _tensors(network)
    offsets: dict[Tensor, int] = {}
    weights = bytearray()
    for tensor in tensors:
        if tensor.data is not None:
            weights += bytes(-len(weights) % ALIGNMENT_BYTES)
            offsets[tensor] = len(weights)
            weights += np.ascontiguousarray(tensor.data).tobytes()
    lives = _lives(network, tensors)
    start = _place_plain([life for life in lives if life.tensor.layout.is_plain], offsets)
    end, cells = _place_slots([life for life in lives if not life.tensor.layout.is_plain], offsets, start)
    return MemoryPlan(
        tensors=tensors,
        offsets=tuple(offsets[tensor] for tensor in tensors),
        arena_bytes=end,
        weights=bytes(weights),
        halo_offset=start,
        halo_cells=cells,
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


def _place_plain(lives: list[_Life], offsets: dict[Tensor, int]) -> int:
    placed: list[tuple[int, _Life]] = []
    end = 0
    for life in sorted(lives, key=lambda item: (-_size(item.tensor), item.first)):
        size, offset = _size(life.tensor), 0
        for start, other in sorted(placed, key=lambda item: item[0]):
            if life.overlaps(other) and offset < start + _size(other.tensor) and start < offset + size:
                offset = _align(start + _size(other.tensor))
        placed.append((offset, life))
        offsets[life.tensor] = offset
        end = max(end, _align(offset + size))
    return end


def _place_slots(lives: list[_Life], offsets: dict[Tensor, int], start: int) -> tuple[int, npt.NDArray[np.int32]]:
    end = start
    slots: list[tuple[int, list[_Life]]] = []
    for life in sorted(lives, key=lambda item: item.first):
        layout = life.tensor.layout
        fitting = (
            slot
            for slot in slots
            if slot[1][0].tensor.layout == layout and not any(life.overlaps(other) for other in slot[1])
        )
        slot = next(fitting, None)
        if slot is None:
            slot = (end, [])
            slots.append(slot)
            end = _align(end + _size(life.tensor))
        slot[1].append(life)
        offsets[life.tensor] = slot[0]
    cells = [(offset - start) // ITEM_BYTES + held[0].tensor.layout.halo_cells() for offset, held in slots]
    return end, np.concatenate([np.empty(0, np.int64), *cells]).astype(np.int32)


def step_bytes(step: LoweredStep) -> int:
    """Bytes of all tensors, or parts of them, that a step reads and writes, each once."""
    return sum(_size(tensor) for tensor in dict.fromkeys(step.arguments))


def _size(tensor: Tensor) -> int:
    return tensor.layout.elements * ITEM_BYTES


def _align(offset: int) -> int:
    return -(-offset // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
