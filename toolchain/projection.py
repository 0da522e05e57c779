"""Euclidean projections onto structured sets: the pure mathematics of one weight matrix.

A conv weight ``(c_out, c_in, kh, kw)`` is the GEMM matrix ``(c_out, c_in*kh*kw)``: a row is a filter, a column one
``(c_in, ky, kx)`` position over all filters. Projecting keeps the pieces of largest L2 norm and sets the rest to 0,
which is the nearest point of the set for filters, for columns in blocks of any shape, and for single weights; ties go
to the lowest index. Filters and columns together have no closed form (see :func:`project_combined`). ``plan_choice``
applies this to whole networks, where layers are coupled.

Source: AutoCompress, arXiv:1907.03141, section 3.3.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .granularity import Column, ColumnGranularity

__all__ = [
    "SINGLE_COLUMNS",
    "column_blocks",
    "project_columns",
    "project_combined",
    "project_filters",
    "project_unstructured",
    "top_mask",
]

BoolArray: TypeAlias = npt.NDArray[np.bool_]
DoubleArray: TypeAlias = npt.NDArray[np.float64]

SINGLE_COLUMNS = Column()
MAX_ALTERNATIONS = 20
MAX_ROW_STARTS = 32


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
    rows = _top(squares.sum(1), keep, "filters")
    return _masked(weight, np.broadcast_to(rows[:, None], squares.shape))


def project_columns(weight: Tensor, keep: int, blocks: ColumnGranularity = SINGLE_COLUMNS) -> Tensor:
    """Project a weight onto the set with at most ``keep`` non-zero blocks of GEMM columns.

    Args:
        weight: ``(c_out, c_in, kh, kw)``, or a matrix ``(c_out, c_in)``, any float dtype; left as it is.
        keep: Blocks kept; with single columns in ``1..c_in*kh*kw``.
        blocks: What is removed in one piece: single columns, whole input channels, or blocks of channels.

    Returns:
        New tensor, shape and dtype of ``weight``; removed columns are exactly 0.

    Raises:
        ValueError: If ``keep`` is out of range.

    Source: AutoCompress, arXiv:1907.03141, section 3.3.
    """
    squares = _squares(weight)
    labels = _labels(weight, blocks)
    chosen = _top(_merged(squares, labels).sum(0), keep, _piece(blocks))
    return _masked(weight, np.broadcast_to(chosen[labels], squares.shape))


def project_combined(
    weight: Tensor, keep_filters: int, keep_columns: int, blocks: ColumnGranularity = SINGLE_COLUMNS
) -> Tensor:
    """Project a weight onto the set with at most so many non-zero filters and so many non-zero blocks of columns.

    There is no closed form: filters and columns are chosen in turn, each among what the other keeps, until stable. This
    starts from all filters, from the strongest ones, and from each strong filter alone; what keeps most of the squared
    norm wins. It is never worse than filters first and columns of what is left, or the other way round, and so keeps at
    least ``max(keep_filters/filters, keep_columns/blocks)`` of what the nearest point keeps.

    Args:
        weight: ``(c_out, c_in, kh, kw)`` or ``(c_out, c_in)``, any float dtype; left as it is.
        keep_filters: In ``1..c_out``.
        keep_columns: Blocks kept; with single columns in ``1..c_in*kh*kw``.
        blocks: What is removed in one piece of columns.

    Returns:
        New tensor, shape and dtype of ``weight``; everything outside the kept rows and columns is exactly 0.

    Raises:
        ValueError: If a count is out of range.
    """
    labels = _labels(weight, blocks)
    squares = _merged(_squares(weight), labels)
    norms = squares.sum(1)
    strongest = _top(norms, keep_filters, "filters")
    _top(squares.sum(0), keep_columns, _piece(blocks))  # checks the count
    single = np.argsort(-norms, kind="stable")[:MAX_ROW_STARTS]
    starts = [strongest, np.ones(len(norms), dtype=np.bool_), *(np.arange(len(norms)) == row for row in single)]
    candidates = [_alternate(squares, start, keep_filters, keep_columns) for start in starts]
    _, rows, columns = max(candidates, key=lambda candidate: candidate[0])
    return _masked(weight, rows[:, None] & columns[labels][None, :])


def project_unstructured(weight: Tensor, keep: int) -> Tensor:
    """Project a weight onto the set with at most ``keep`` non-zero entries.

    Args:
        weight: ``(c_out, ...)``, any float dtype; left as it is.
        keep: Weights kept, in ``1..numel``.

    Returns:
        New tensor, shape and dtype of ``weight``; removed weights are exactly 0.

    Raises:
        ValueError: If ``keep`` is out of range.
    """
    squares = _squares(weight)
    return _masked(weight, _top(squares.ravel(), keep, "weights"))


def top_mask(scores: npt.NDArray[np.floating], keep: int) -> BoolArray:
    """Which scores are the ``keep`` largest; ties go to the lowest index.

    Args:
        scores: ``(n,)``.
        keep: At most this many are chosen; all of them where there are no more.
    """
    count = len(scores)
    if keep >= count:
        return np.ones(count, dtype=np.bool_)
    # Selecting costs a fifth of sorting, and a search asks for this a hundred thousand times.
    ordered = scores.copy()
    ordered.partition(count - keep)
    limit = ordered[count - keep]
    mask = scores >= limit
    surplus = int(np.count_nonzero(mask)) - keep
    if surplus > 0:
        mask[np.flatnonzero(scores == limit)[-surplus:]] = False
    elif surplus < 0:  # not-a-number, from weights that diverged, comes last
        mask[np.argsort(-scores, kind="stable")[:keep]] = True
    return np.asarray(mask)


def column_blocks(
    blocks: ColumnGranularity, ranks: npt.NDArray[np.integer], positions: npt.NDArray[np.integer], kernel_area: int
) -> npt.NDArray[np.int64]:
    """Number of the block that each column belongs to; blocks are in order of channel, then of kernel position.

    Args:
        blocks: Shape of a block.
        ranks: Rank of each column's input channel among the channels that are kept, ``(K,)``.
        positions: Kernel position ``ky*kw + kx`` of each column, ``(K,)``.
        kernel_area: ``kh * kw``.
    """
    groups = np.asarray(ranks, dtype=np.int64) // blocks.channels
    return groups if blocks.every_position else groups * kernel_area + positions


def _alternate(
    squares: DoubleArray, rows: BoolArray, keep_rows: int, keep_columns: int
) -> tuple[float, BoolArray, BoolArray]:
    best = (-1.0, rows, rows)
    for _ in range(MAX_ALTERNATIONS):
        columns = top_mask(squares[rows].sum(0), keep_columns)
        rows = top_mask(squares[:, columns].sum(1), keep_rows)
        energy = float(squares[np.ix_(rows, columns)].sum())
        if energy <= best[0]:
            break
        best = (energy, rows, columns)
    return best


def _squares(weight: Tensor) -> DoubleArray:
    return weight.detach().flatten(1).double().square().cpu().numpy()


def _labels(weight: Tensor, blocks: ColumnGranularity) -> npt.NDArray[np.int64]:
    area = weight[0, 0].numel()
    columns = np.arange(weight[0].numel())
    return column_blocks(blocks, columns // area, columns % area, area)


def _merged(squares: DoubleArray, labels: npt.NDArray[np.int64]) -> DoubleArray:
    """Squared norms of the rows of every block, ``(c_out, blocks)``."""
    merged = np.zeros((int(labels.max()) + 1, len(squares)))
    np.add.at(merged, labels, squares.T)
    return merged.T


def _top(scores: DoubleArray, keep: int, what: str) -> BoolArray:
    if not 1 <= keep <= len(scores):
        raise ValueError(f"{what} to keep must be in 1..{len(scores)}, got {keep}")
    return top_mask(scores, keep)


def _piece(blocks: ColumnGranularity) -> str:
    return f"{blocks.name}s"


def _masked(weight: Tensor, keep: BoolArray) -> Tensor:
    mask = torch.from_numpy(np.ascontiguousarray(keep)).to(weight.device).view(weight.shape)
    return torch.where(mask, weight.detach(), torch.zeros((), dtype=weight.dtype, device=weight.device))
