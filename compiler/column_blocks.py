"""Blocks of columns: four neighbouring input channels at one kernel position, one address for four columns.

A column is a flat index into ``(c_in, kh, kw)``. At each kernel position, intervals of four channels cover the kept
channels, from the first kept channel on: the fewest that do. They need not begin at a multiple of four. Columns of a
block that are not kept are computed with zero weights.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .layer_shape import BLOCK_CHANNELS
from .zero_columns import IntArray

__all__ = ["block_weights", "count_blocks", "count_channels", "find_blocks"]


def find_blocks(columns: IntArray, channels: int, area: int) -> IntArray:
    """First columns of the fewest blocks that hold all of ``columns``.

    Args:
        columns: Kept columns, sorted.
        channels: Input channels; at least four.
        area: Kernel positions, ``kh*kw``.

    Returns:
        Sorted int32 indices of the blocks' first columns; a block goes on at ``first + area``, ``first + 2 * area``, ….
        Near the last channel blocks may overlap.
    """
    order = np.lexsort((columns // area, columns % area))
    found: list[int] = []
    end = position = -1
    for column in columns[order].tolist():
        channel, place = divmod(column, area)
        if place != position or channel >= end:
            position, end = place, channel + BLOCK_CHANNELS
            found.append(min(channel, channels - BLOCK_CHANNELS) * area + place)
    return np.array(sorted(found), np.int32)


def block_weights(matrix: npt.NDArray[np.float32], blocks: IntArray, area: int) -> npt.NDArray[np.float32]:
    """Columns of a GEMM matrix ``(filters, c_in*kh*kw)`` block by block: ``(filters, 4 * blocks)``.

    A column that two blocks hold has its weights in the first, and zeros in the second.
    """
    columns = (blocks[:, None] + np.arange(BLOCK_CHANNELS) * area).reshape(-1)
    packed = matrix[:, columns]
    _, first = np.unique(columns, return_index=True)
    repeated = np.ones(columns.size, bool)
    repeated[first] = False
    packed[:, repeated] = 0
    return packed


def count_blocks(channels: IntArray, positions: IntArray, area: int) -> int:
    """Blocks that begin at every fourth channel and hold these columns; `find_blocks` finds no more.

    Quick, for costs of candidates.

    Args:
        channels: Input channel of each column.
        positions: Kernel position of each column.
        area: Kernel positions.
    """
    return int(np.unique(channels // BLOCK_CHANNELS * area + positions).size)


def count_channels(columns: IntArray, area: int) -> int:
    """Input channels that the columns read."""
    return int(np.unique(columns // area).size)
