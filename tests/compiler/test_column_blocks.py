import itertools

import numpy as np
import pytest
from act.compiler.column_blocks import block_weights, count_channels, find_blocks


def held(blocks, area):
    return {int(first) + step * area for first in blocks for step in range(4)}


def fewest(columns, channels, area):
    """By trying every set of blocks."""
    starts = [c * area + p for c in range(channels - 3) for p in range(area)]
    for count in range(1, len(starts) + 1):
        for chosen in itertools.combinations(starts, count):
            if set(columns) <= held(chosen, area):
                return count
    raise AssertionError


@pytest.mark.parametrize("seed", range(12))
def test_blocks_are_the_fewest_that_hold_all_columns(seed):
    rng = np.random.default_rng(seed)
    channels, area = int(rng.integers(4, 8)), int(rng.integers(1, 3))
    count = int(rng.integers(1, channels * area + 1))
    columns = np.sort(rng.choice(channels * area, count, replace=False)).astype(np.int32)
    blocks = find_blocks(columns, channels, area)
    assert blocks.dtype == np.int32
    assert set(columns.tolist()) <= held(blocks, area)
    assert max(held(blocks, area)) < channels * area
    assert len(blocks) == len(set(blocks.tolist())) == fewest(columns.tolist(), channels, area)


def test_whole_groups_of_channels_are_one_block_each_wherever_they_begin():
    columns = np.array([9 * c + p for c in (2, 3, 4, 5) for p in (1, 7)], np.int32)
    assert find_blocks(np.sort(columns), 8, 9).tolist() == [2 * 9 + 1, 2 * 9 + 7]


def test_a_column_in_two_blocks_is_counted_once():
    matrix = np.arange(1, 13, dtype=np.float32).reshape(2, 6)
    blocks = find_blocks(np.array([0, 5], np.int32), 6, 1)
    assert blocks.tolist() == [0, 2]
    packed = block_weights(matrix, blocks, 1)
    assert packed.tolist() == [[1, 2, 3, 4, 0, 0, 5, 6], [7, 8, 9, 10, 0, 0, 11, 12]]


def test_channels_that_columns_read_are_counted():
    assert count_channels(np.array([0, 8, 9, 30], np.int32), 9) == 3
