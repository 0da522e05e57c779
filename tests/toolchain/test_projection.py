"""What is particular to one projection; what all must do is in `tests/contracts/test_projections.py`."""

import numpy as np
import pytest
import torch
from act.toolchain.granularity import BlockColumn, Channel, Column
from act.toolchain.projection import (
    column_blocks,
    project_columns,
    project_combined,
    project_filters,
    project_unstructured,
    top_mask,
)


def nonzero_columns(weight):
    return torch.nonzero(weight.flatten(1).abs().sum(0)).flatten().tolist()


def test_combined_is_never_worse_than_one_after_the_other():
    for seed in range(10):
        weight = torch.randn(8, 5, 2, 2, generator=torch.Generator().manual_seed(seed))
        energy = project_combined(weight, 3, 7).square().sum()
        filters_first = project_columns(project_filters(weight, 3), 7)
        columns_first = project_filters(project_columns(weight, 7), 3)
        assert energy >= max(filters_first.square().sum(), columns_first.square().sum()) - 1e-5


def test_blocks_of_four_channels_at_one_position():
    weight = torch.zeros(2, 8, 1, 3)
    weight[:, 4:, 0, 1] = 1.0
    weight[0, 1, 0, 2] = 3.0  # stronger than any of the columns above, and than all four together
    kept = project_columns(weight, 1, BlockColumn())
    assert nonzero_columns(kept) == [1 * 3 + 2]
    weight[0, 1, 0, 2] = 2.0
    assert nonzero_columns(project_columns(weight, 1, BlockColumn())) == [c * 3 + 1 for c in range(4, 8)]


def test_a_channel_loses_all_its_columns():
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[:, 1] *= 0.1
    assert nonzero_columns(project_columns(weight, 2, Channel())) == [*range(9), *range(18, 27)]


def test_block_numbers():
    ranks, positions = np.repeat(np.arange(6), 2), np.tile(np.arange(2), 6)
    assert column_blocks(Column(), ranks, positions, 2).tolist() == list(range(12))
    assert column_blocks(Channel(), ranks, positions, 2).tolist() == ranks.tolist()
    assert column_blocks(BlockColumn(), ranks, positions, 2).tolist() == [0, 1] * 4 + [2, 3] * 2


@pytest.mark.parametrize("keep", [0, 7, -1])
def test_counts_out_of_range_are_refused(keep):
    with pytest.raises(ValueError, match=rf"columns to keep must be in 1\.\.6, got {keep}"):
        project_columns(torch.ones(2, 6), keep)
    with pytest.raises(ValueError, match=rf"weights to keep must be in 1\.\.6, got {keep}"):
        project_unstructured(torch.ones(2, 3), keep)


def test_counts_are_of_blocks():
    with pytest.raises(ValueError, match=r"block-columns to keep must be in 1\.\.2, got 3"):
        project_columns(torch.ones(2, 6), 3, BlockColumn())
    with pytest.raises(ValueError, match=r"filters to keep must be in 1\.\.2, got 3"):
        project_combined(torch.ones(2, 6), 3, 1)


@pytest.mark.parametrize(
    ("scores", "keep", "expected"),
    [
        ([1.0, 3.0, 3.0, 2.0], 2, [1, 2]),
        ([3.0, 1.0, 3.0, 3.0], 2, [0, 2]),
        ([1.0, 1.0], 5, [0, 1]),
        ([0.0, -1.0, -1.0], 2, [0, 1]),
        ([np.inf, 1.0, np.inf], 1, [0]),
        ([np.nan, 1.0, 2.0, np.nan], 3, [0, 1, 2]),
    ],
)
def test_the_largest_scores_ties_by_index_and_nan_last(scores, keep, expected):
    assert np.flatnonzero(top_mask(np.array(scores), keep)).tolist() == expected
