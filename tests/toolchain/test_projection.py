import itertools

import numpy as np
import pytest
import torch
from act.toolchain.projection import project_columns, project_combined, project_filters


def nonzero_rows(weight):
    return torch.nonzero(weight.flatten(1).abs().sum(1)).flatten().tolist()


def nonzero_columns(weight):
    return torch.nonzero(weight.flatten(1).abs().sum(0)).flatten().tolist()


@pytest.mark.parametrize("seed", range(5))
def test_projections_are_the_nearest_point_of_the_set(seed):
    weight = torch.randn(4, 2, 1, 3, generator=torch.Generator().manual_seed(seed))
    matrix = weight.flatten(1)
    for keep in range(1, 5):
        best = max(matrix[list(rows)].square().sum() for rows in itertools.combinations(range(4), keep))
        assert project_filters(weight, keep).square().sum() == pytest.approx(float(best))
    for keep in range(1, 7):
        best = max(matrix[:, list(columns)].square().sum() for columns in itertools.combinations(range(6), keep))
        projected = project_columns(weight, keep)
        assert projected.shape == weight.shape
        assert projected.square().sum() == pytest.approx(float(best))


@pytest.mark.parametrize("seed", range(10))
def test_combined_projection_is_near_the_brute_force_optimum(seed):
    weight = torch.randn(5, 6, generator=torch.Generator().manual_seed(seed))
    squares = weight.square().numpy()
    best = max(
        squares[np.ix_(rows, columns)].sum()
        for rows in itertools.combinations(range(5), 3)
        for columns in itertools.combinations(range(6), 3)
    )
    projected = project_combined(weight, 3, 3)
    assert len(nonzero_rows(projected)) == 3
    assert len(nonzero_columns(projected)) == 3
    assert float(projected.square().sum()) >= 0.9 * best
    greedy = project_columns(project_filters(weight, 3), 3)
    assert projected.square().sum() >= greedy.square().sum() - 1e-6


def test_ties_go_to_the_lowest_index():
    weight = torch.ones(4, 3, 2, 2)
    assert nonzero_rows(project_filters(weight, 2)) == [0, 1]
    assert nonzero_columns(project_columns(weight, 5)) == [0, 1, 2, 3, 4]


def test_the_original_is_untouched_and_shares_no_memory():
    weight = torch.randn(4, 6)
    before = weight.clone()
    for projected in (project_filters(weight, 4), project_columns(weight, 6), project_combined(weight, 4, 6)):
        assert torch.equal(projected, before)
        projected.zero_()
    assert torch.equal(weight, before)


def test_projecting_twice_changes_nothing_and_keeps_the_type():
    weight = torch.randn(6, 4, 3, 3).half()
    once = project_combined(weight, 3, 9)
    assert once.dtype == torch.float16
    assert torch.equal(project_combined(once, 3, 9), once)


@pytest.mark.parametrize("keep", [0, 7, -1])
def test_counts_out_of_range_are_refused(keep):
    with pytest.raises(ValueError, match=rf"1\.\.6, got {keep}"):
        project_columns(torch.ones(2, 6), keep)
