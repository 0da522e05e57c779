"""Find what pruning left in a dense weight: columns and filters that are exactly zero, whoever made them.

A conv weight ``(c_out, c_in, kh, kw)`` is the GEMM matrix ``(c_out, c_in*kh*kw)``; a column is one (input channel, ky,
kx) position over all filters. Only exact zeros count (either sign): a small weight is a weight.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["IntArray", "kept_columns", "zero_filters"]

IntArray: TypeAlias = npt.NDArray[np.int32]


def kept_columns(weight: npt.NDArray[Any]) -> IntArray:
    """Columns with a non-zero weight in at least one filter.

    Args:
        weight: Conv weight, shape ``(c_out, c_in, kh, kw)``, or GEMM matrix, shape ``(c_out, columns)``; NaN counts
            as a weight.

    Returns:
        Sorted int32 indices into ``c_in*kh*kw``; empty if the whole weight is zero.

    Raises:
        ValueError: If the weight has fewer than two dimensions.
    """
    return _nonzero_indices(_gemm_matrix(weight), axis=0)


def zero_filters(weight: npt.NDArray[Any]) -> IntArray:
    """Filters whose weights are all zero (their bias may still be non-zero).

    Args:
        weight: Conv weight, shape ``(c_out, c_in, kh, kw)``, or GEMM matrix, shape ``(c_out, columns)``.

    Returns:
        Sorted int32 indices into ``c_out``.

    Raises:
        ValueError: If the weight has fewer than two dimensions.
    """
    matrix = _gemm_matrix(weight)
    kept = _nonzero_indices(matrix, axis=1)
    return np.setdiff1d(np.arange(matrix.shape[0], dtype=np.int32), kept, assume_unique=True)


def _gemm_matrix(weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if weight.ndim < 2:
        raise ValueError(f"a weight has at least two dimensions (filters first), got shape {weight.shape}")
    return weight.reshape(weight.shape[0], -1)


def _nonzero_indices(matrix: npt.NDArray[Any], *, axis: int) -> IntArray:
    return np.flatnonzero((matrix != 0).any(axis=axis)).astype(np.int32)
