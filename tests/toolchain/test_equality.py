import numpy as np
import pytest
import torch
from act.toolchain.equality import relative_difference


def test_difference_is_relative_to_the_largest_expected_output():
    assert relative_difference(np.array([1.0, 10.5]), np.array([1.0, 10.0])) == pytest.approx(0.05)
    assert relative_difference(torch.ones(2, 2), np.ones((2, 2))) == 0.0


def test_no_scale_and_no_number_are_infinitely_far():
    assert relative_difference([0.0, 0.0], [0.0, 0.0]) == 0.0
    assert relative_difference([0.1, 0.0], [0.0, 0.0]) == float("inf")
    assert relative_difference([float("nan")], [float("nan")]) == float("inf")
    assert relative_difference([1.0], [float("inf")]) == float("inf")


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2,\) and \(1,\)"):
        relative_difference([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="not empty"):
        relative_difference([], [])
