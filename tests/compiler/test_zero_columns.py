"""Zero columns and filters are found exactly."""

import numpy as np
import pytest
from act.compiler.zero_columns import kept_columns, zero_filters


def dense_weight():
    return np.random.default_rng(0).standard_normal((6, 4, 3, 3)).astype(np.float32)


def test_dense_weight_keeps_every_column():
    assert kept_columns(dense_weight()).tolist() == list(range(36))
    assert zero_filters(dense_weight()).tolist() == []


def test_zero_columns_are_found_in_gemm_order():
    weight = dense_weight()
    weight[:, 1, 0, 2] = 0.0
    weight[:, 3] = -0.0
    expected = [c for c in range(36) if c != 1 * 9 + 2 and c < 27]
    found = kept_columns(weight)
    assert found.tolist() == expected
    assert found.dtype == np.int32


def test_a_single_small_weight_keeps_its_column():
    weight = np.zeros((6, 4, 3, 3), dtype=np.float32)
    weight[2, 1, 1, 1] = 1e-38
    weight[3, 2, 0, 0] = np.nan
    assert kept_columns(weight).tolist() == [13, 18]
    assert zero_filters(weight).tolist() == [0, 1, 4, 5]


def test_all_zero_weight_keeps_nothing():
    weight = np.zeros((2, 3, 1, 1), dtype=np.float32)
    assert kept_columns(weight).size == 0
    assert zero_filters(weight).tolist() == [0, 1]


def test_gemm_matrix_is_taken_as_it_is():
    assert kept_columns(np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])).tolist() == [1, 2]


def test_a_vector_is_refused():
    with pytest.raises(ValueError, match="two dimensions"):
        kept_columns(np.zeros(4))
