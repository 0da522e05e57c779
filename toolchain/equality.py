"""How far two outputs of one network are apart: ``max|found - expected| / max|expected|``."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

__all__ = ["relative_difference"]

Values: TypeAlias = npt.ArrayLike | Tensor


def relative_difference(found: Values, expected: Values) -> float:
    """``max|found - expected| / max|expected|``.

    Args:
        found: Any shape.
        expected: The same shape; gives the scale.

    Returns:
        0 for equal values; infinity where a value is not finite, or where ``expected`` is all 0 and ``found`` is not.

    Raises:
        ValueError: If the shapes differ or there is nothing to compare.
    """
    a, b = _array(found), _array(expected)
    if a.shape != b.shape or not a.size:
        raise ValueError(f"cannot compare outputs of shapes {a.shape} and {b.shape}: they must be equal and not empty")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    largest, difference = float(np.abs(b).max()), float(np.abs(a - b).max())
    if largest == 0.0:
        return 0.0 if difference == 0.0 else float("inf")
    return difference / largest


def _array(values: Values) -> npt.NDArray[np.float64]:
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)
