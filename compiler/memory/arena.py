"""Placing blocks of memory in one arena: blocks that are needed at the same time lie apart, others may share.

First fit in several orders, the smallest arena wins. That is a heuristic (the problem is NP-hard); how close it came is
the ratio of `Placement.size` to `peak_bytes`, below which no placement can go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

__all__ = ["Block", "Placement", "peak_bytes", "place"]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Memory of ``size`` bytes, needed in the steps ``first`` to ``last``, both inclusive."""

    size: int
    first: int
    last: int

    def overlaps(self, other: Block) -> bool:
        """Whether both are needed in some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Byte offsets of the blocks, in their order, and the size of the arena."""

    offsets: tuple[int, ...]
    size: int


_ORDERS: tuple[Callable[[Block], tuple[int, ...]], ...] = (
    lambda block: (-block.size, block.first),
    lambda block: (-block.size * (block.last - block.first + 1), block.first),
    lambda block: (block.first - block.last, -block.size),
    lambda block: (block.first, -block.size),
    lambda block: (-block.last, -block.size),
)


def peak_bytes(blocks: Sequence[Block]) -> int:
    """The largest sum of sizes that are needed in one step."""
    changes = [0] * (max((block.last for block in blocks), default=0) + 2)
    for block in blocks:
        changes[block.first] += block.size
        changes[block.last + 1] -= block.size
    return max(accumulate(changes))


def place(blocks: Sequence[Block], *, alignment: int) -> Placement:
    """Give every block an offset.

    Args:
        blocks: Sizes of at least 0.
        alignment: Of the offsets and of the arena's size, in bytes.
    """
    bound = _align(peak_bytes(blocks), alignment)
    best: Placement | None = None
    for order in _ORDERS:
        found = _first_fit(blocks, sorted(range(len(blocks)), key=lambda index: order(blocks[index])), alignment)
        if best is None or found.size < best.size:
            best = found
        if best.size <= bound:
            break
    assert best is not None
    return best


def _first_fit(blocks: Sequence[Block], order: Sequence[int], alignment: int) -> Placement:
    offsets = [0] * len(blocks)
    placed: list[int] = []
    for index in order:
        block, offset = blocks[index], 0
        busy = sorted((offsets[other], blocks[other].size) for other in placed if block.overlaps(blocks[other]))
        for start, size in busy:
            if offset + block.size <= start:
                break
            offset = max(offset, _align(start + size, alignment))
        offsets[index] = offset
        placed.append(index)
    end = max((offset + block.size for offset, block in zip(offsets, blocks, strict=True)), default=0)
    return Placement(offsets=tuple(offsets), size=_align(end, alignment))


def _align(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
