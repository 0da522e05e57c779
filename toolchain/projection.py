"""Euclidean projections onto structured sets: the pure mathematics of one weight matrix.

A conv weight ``(c_out, c_in, kh, kw)`` is the GEMM matrix ``(c_out, c_in*kh*kw)``: a row is a filter, a column one
``(c_in, ky, kx)`` position over all filters. Projecting keeps what has the largest L2 norm and sets the rest to 0; ties
go to the lowest index. ``plan_choice`` applies this to whole networks, where layers are coupled.

Source: AutoCompress, arXiv:1907.03141, section 3.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .folding import folded_weights, plain_weights
from .plan_choice import Scores, choose_plan, top_indices

__all__ = [
    "Scores",
    "choose_plan",
    "folded_weights",
    "plain_weights",
    "project_columns",
    "project_combined",
    "project_filters",
]

MAX_ALTERNATIONS = 20


def project_filters(weight: Tensor, keep: int) -> Tensor:
    """Project a weight onto the set with at most ``keep`` non-zero filters.

    Args:
        weight: ``(c_out, ...)``, any float dtype; left as it is.
        keep: Filters kept, in ``1..c_out``.

    Returns:
        New tensor, shape and dtype of ``weight``; removed filters are exactly 0.

    Raises:
        ValueError: If ``keep`` is out of range.

    Source: AutoCompress, arXiv:1907.03141, section 3.3.
    """
    squares = _squares(weight)
    return _masked(weight, _top(squares.sum(1), keep, "filters"), slice(None))


def project_columns(weight: Tensor, keep: int) -> Tensor:
    """Project a weight onto the set with at most ``keep`` non-zero GEMM columns.

    Args:
        weight: ``(c_out, c_in, kh, kw)`` or packed ``(c_out, K)``, any float dtype; left as it is.
        keep: Columns kept, in ``1..c_in*kh*kw``.

    Returns:
        New tensor, shape and dtype of ``weight``; removed columns are exactly 0.

    Raises:
        ValueError: If ``keep`` is out of range.

    Source: AutoCompress, arXiv:1907.03141, section 3.3.
    """
    squares = _squares(weight)
    return _masked(weight, slice(None), _top(squares.sum(0), keep, "columns"))


def project_combined(weight: Tensor, keep_filters: int, keep_columns: int) -> Tensor:
    """Project a weight onto the set with at most so many non-zero filters and so many non-zero columns.

    There is no closed form: filters and columns are chosen in turn, each among what the other keeps, until stable,
    starting once from the filters and once from the columns; what keeps most of the norm wins.

    Args:
        weight: ``(c_out, c_in, kh, kw)`` or ``(c_out, K)``, any float dtype; left as it is.
        keep_filters: In ``1..c_out``.
        keep_columns: In ``1..c_in*kh*kw``.

    Returns:
        New tensor, shape and dtype of ``weight``; everything outside the kept rows and columns is exactly 0.

    Raises:
        ValueError: If a count is out of range.
    """
    squares = _squares(weight)
    starts = (_top(squares.sum(1), keep_filters, "filters"), np.arange(squares.shape[0]))
    candidates = [_alternate(squares, start, keep_filters, keep_columns) for start in starts]
    _, rows, columns = max(candidates, key=lambda candidate: candidate[0])
    return _masked(weight, rows, columns)


def _alternate(
    squares: npt.NDArray[np.float64], rows: npt.NDArray[np.int64], keep_rows: int, keep_columns: int
) -> tuple[float, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    best = (-1.0, rows, rows)
    for _ in range(MAX_ALTERNATIONS):
        columns = _top(squares[rows].sum(0), keep_columns, "columns")
        rows = _top(squares[:, columns].sum(1), keep_rows, "filters")
        energy = float(squares[np.ix_(rows, columns)].sum())
        if energy <= best[0]:
            break
        best = (energy, rows, columns)
    return best


def _squares(weight: Tensor) -> npt.NDArray[np.float64]:
    return weight.detach().flatten(1).double().square().cpu().numpy()


def _top(scores: npt.NDArray[np.float64], keep: int, what: str) -> npt.NDArray[np.int64]:
    if not 1 <= keep <= len(scores):
        raise ValueError(f"{what} to keep must be in 1..{len(scores)}, got {keep}")
    return top_indices(scores, keep)


def _masked(weight: Tensor, rows: npt.NDArray[np.int64] | slice, columns: npt.NDArray[np.int64] | slice) -> Tensor:
    shape = (weight.shape[0], weight[0].numel())
    keep = np.zeros(shape, dtype=np.bool_)
    index = np.ix_(np.arange(shape[0])[rows], np.arange(shape[1])[columns])
    keep[index] = True
    mask = torch.from_numpy(keep).to(weight.device).view(weight.shape)
    return torch.where(mask, weight.detach(), torch.zeros((), dtype=weight.dtype, device=weight.device))
