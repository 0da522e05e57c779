"""Static memory: every tensor gets an offset, weights in one blob, the rest in one arena.

Tensors that are not alive in the same step share memory (`arena`); a part of a tensor has the memory of the whole,
which is alive from its first part's writing on. A tensor with a halo needs zeros around its elements, which a step of
its own writes: one at the start clears all halos, and from then on that memory is shared within one layout only. Where
this makes the arena much larger than what is alive, further clearing steps are added in the middle: what is cleared
later occupies its memory later.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..lowered import LoweredNetwork, LoweredStep, Tensor
from .arena import Block, Placement, peak_bytes, place

__all__ = ["ALIGNMENT_BYTES", "HaloClearing", "MemoryPlan", "place_weight", "plan_memory", "step_bytes", "weight_blob"]

ALIGNMENT_BYTES = 1024
LARGEST_RATIO = 1.3  # of the arena to what is alive; beyond it another clearing step is worth its launch
SMALL_ARENA_BYTES = 64 * 1024  # an arena that is not worth a launch


@dataclass(frozen=True, kw_only=True)
class HaloClearing:
    """Halos to set to zero before a step.

    Attributes:
        step: Index into the network's steps; the clearing comes right before it.
        offset: Byte offset of the region in the arena.
        size_bytes: Size of the region; what else lies in it stays as it is.
        dtype: Of its elements.
        cells: Elements to clear, counted from ``offset``.
    """

    step: int
    offset: int
    size_bytes: int
    dtype: str
    cells: npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Where everything lies.

    Attributes:
        tensors: All tensors in order of first use; the input is first.
        offsets: Their byte offsets, in the weight blob or in the arena.
        arena_bytes: Size of the arena.
        peak_live_bytes: Largest sum of tensors alive in one step, as they are stored; no arena can be smaller.
        weight_bytes: Size of the weight blob.
        clearings: In the order of their steps.
    """

    tensors: tuple[Tensor, ...]
    offsets: tuple[int, ...]
    arena_bytes: int
    peak_live_bytes: int
    weight_bytes: int
    clearings: tuple[HaloClearing, ...]


@dataclass(frozen=True)
class _Life:
    """Steps in which a tensor holds a value, both inclusive."""

    tensor: Tensor
    first: int
    last: int

    def block(self) -> Block:
        return Block(size=self.tensor.size_bytes, first=self.first, last=self.last)


@dataclass
class _Slot:
    """Memory that tensors of one layout with a halo take in turn, cleared before step ``start``."""

    start: int
    lives: list[_Life]

    @property
    def tensor(self) -> Tensor:
        return self.lives[0].tensor

    def takes(self, life: _Life) -> bool:
        alike = (life.tensor.layout, life.tensor.dtype) == (self.tensor.layout, self.tensor.dtype)
        return alike and self.lives[-1].last < life.first

    def block(self) -> Block:
        return Block(size=self.tensor.size_bytes, first=self.start, last=self.lives[-1].last)


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
    peak = peak_bytes([life.block() for life in lives])
    plain = [life for life in lives if life.tensor.layout.is_plain]
    slots, placement = _arena(plain, [life for life in lives if not life.tensor.layout.is_plain], peak)
    slot_offsets = placement.offsets[len(plain) :]
    offsets.update((life.tensor, offset) for life, offset in zip(plain, placement.offsets, strict=False))
    for slot, offset in zip(slots, slot_offsets, strict=True):
        offsets.update((life.tensor, offset) for life in slot.lives)
    return MemoryPlan(
        tensors=tensors,
        offsets=tuple(offsets[tensor] for tensor in tensors),
        arena_bytes=placement.size,
        peak_live_bytes=peak,
        weight_bytes=weight_bytes,
        clearings=_clearings(slots, slot_offsets),
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


def _arena(plain: list[_Life], padded: list[_Life], peak: int) -> tuple[list[_Slot], Placement]:
    """Slots of the padded tensors, and the placement of the plain ones and then the slots."""
    blocks = [life.block() for life in plain]
    padded = sorted(padded, key=lambda life: life.first)
    candidates = sorted({life.first for life in padded})
    points, candidates = candidates[:1], candidates[1:]
    best: tuple[list[_Slot], Placement] | None = None
    while True:
        slots = _slots(padded, points)
        placement = place([*blocks, *(slot.block() for slot in slots)], alignment=ALIGNMENT_BYTES)
        if best is None or placement.size < best[1].size:
            best = (slots, placement)
        if best[1].size <= max(LARGEST_RATIO * peak, SMALL_ARENA_BYTES) or not candidates:
            return best
        further = _best_point(blocks, padded, points, candidates)
        candidates.remove(further)
        points = sorted([*points, further])


def _slots(padded: list[_Life], points: list[int]) -> list[_Slot]:
    """Slots of tensors in the order of their lives; those first written after a clearing point belong to it."""
    slots: list[_Slot] = []
    for life in padded:
        start = points[bisect_right(points, life.first) - 1]
        slot = next((slot for slot in slots if slot.start == start and slot.takes(life)), None)
        if slot is None:
            slots.append(_Slot(start, [life]))
        else:
            slot.lives.append(life)
    return slots


def _best_point(blocks: list[Block], padded: list[_Life], points: list[int], candidates: list[int]) -> int:
    """The clearing point after which least is held at once; among equal ones, least in all steps together."""

    def held(point: int) -> tuple[int, int]:
        slots = [slot.block() for slot in _slots(padded, sorted([*points, point]))]
        return peak_bytes([*blocks, *slots]), sum(block.size * (block.last - block.first + 1) for block in slots)

    return min(candidates, key=held)


def _clearings(slots: Sequence[_Slot], offsets: Sequence[int]) -> tuple[HaloClearing, ...]:
    groups: dict[tuple[int, str], list[tuple[int, Tensor]]] = {}
    for slot, offset in zip(slots, offsets, strict=True):
        groups.setdefault((slot.start, slot.tensor.dtype), []).append((offset, slot.tensor))
    return tuple(_clearing(step, dtype, groups[step, dtype]) for step, dtype in sorted(groups))


def _clearing(step: int, dtype: str, placed: list[tuple[int, Tensor]]) -> HaloClearing:
    placed = sorted(placed, key=lambda pair: pair[0])
    begin, end = placed[0][0], max(offset + tensor.size_bytes for offset, tensor in placed)
    cells = [(offset - begin) // tensor.item_bytes + tensor.layout.halo_cells() for offset, tensor in placed]
    return HaloClearing(
        step=step,
        offset=begin,
        size_bytes=end - begin,
        dtype=dtype,
        cells=np.concatenate(cells).astype(np.int32),
    )


def step_bytes(step: LoweredStep) -> int:
    """Bytes of all tensors, or parts of them, that a step reads and writes, each once."""
    if step.moved_bytes is not None:
        return step.moved_bytes
    return sum(tensor.size_bytes for tensor in dict.fromkeys(step.arguments))


def place_weight(plan: MemoryPlan, tensor: Tensor) -> MemoryPlan:
    """The plan with one more weight, behind the others."""
    offset = _align(plan.weight_bytes)
    return replace(
        plan,
        tensors=(*plan.tensors, tensor),
        offsets=(*plan.offsets, offset),
        weight_bytes=offset + tensor.size_bytes,
    )


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
