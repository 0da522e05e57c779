"""Linear layer: a few vectors of output features per work-item, weights streamed once.

    acc[n, f] = sum over k of w[f / b, k, f % b] * x[n, k],     out = epilogue(crop(acc))

Weights lie in blocks of ``b`` features, in the order in which they are read: on a CPU a block is one work-item's, on a
GPU one work-group's, whose neighbouring work-items read neighbouring vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import s_tir, te, tirx
from tvm.ir import Expr
from tvm.s_tir.schedule import SBlockRV

from ..targets import Target
from .epilogue import inline_epilogue
from .tile import has_lanes, is_gpu, work_group

__all__ = ["LinearTile", "choose_linear_tile", "linear", "pack_linear_weight", "schedule_linear"]


@dataclass(frozen=True, kw_only=True)
class LinearTile:
    """Work of one work-item (``vectors`` times ``lanes`` features), work-items per group, and features per block."""

    vectors: int
    lanes: int
    work_items: int
    block: int


def choose_linear_tile(features: int, target: Target) -> LinearTile:
    """Several vectors at once hide a CPU's latency; a GPU has other work-items for that."""
    vectors, lanes, most_items = (1, 4, 64) if is_gpu(target) else (min(4, -(-features // 8)), 8, 4)
    if has_lanes(target):
        most_items = 8
    items = work_group(-(-features // (vectors * lanes)), most_items)
    block = vectors * lanes * (items if is_gpu(target) else 1)
    return LinearTile(vectors=vectors, lanes=lanes, work_items=items, block=block)


def pack_linear_weight(weight: npt.NDArray[np.float32], tile: LinearTile) -> npt.NDArray[np.float32]:
    """``(in, out)`` to ``(out / block, in, block)``; features are rounded up to whole work-groups of zeros."""
    step = tile.vectors * tile.lanes * tile.work_items
    features = -(-weight.shape[1] // step) * step
    padded = weight  # a whole one is not copied: it may have hundreds of megabytes
    if features != weight.shape[1]:
        padded = np.zeros((weight.shape[0], features), np.float32)
        padded[:, : weight.shape[1]] = weight
    return np.ascontiguousarray(padded.reshape(weight.shape[0], -1, tile.block).transpose(1, 0, 2))


def linear(x: te.Tensor, weight: te.Tensor, features: int, attrs: dict[str, Any]) -> te.Tensor:
    """``x (…, in)`` times the packed weight, first ``features`` columns; every index but the last is a row."""
    k = te.reduce_axis((0, x.shape[-1]), name="k")
    rows, blocks, block = list(x.shape[:-1]), weight.shape[0], weight.shape[2]

    def value(*index: Expr) -> Expr:
        *row, f = index
        return te.sum(weight[te.indexdiv(f, block), k, te.indexmod(f, block)] * x[(*row, k)], axis=k)

    acc = te.compute([*rows, blocks * block], value, name="acc", attrs=attrs)
    return te.compute([*rows, features], lambda *i: acc[i], name="linear")


def schedule_linear(sch: s_tir.Schedule, acc: SBlockRV, tile: LinearTile) -> tirx.PrimFunc:
    """Bind a fused linear layer."""
    out = inline_epilogue(sch, acc)
    *rows, f, k = sch.get_loops(acc)
    n = sch.fuse(*rows)
    padded = int(sch.get(f).extent)
    f_group, f_item, f_vector, f_lane = sch.split(f, [None, tile.work_items, tile.vectors, tile.lanes])
    sch.reorder(n, f_group, f_item, k, f_vector, f_lane)
    sch.bind(n, "blockIdx.y")
    sch.bind(f_group, "blockIdx.x")
    sch.bind(f_item, "threadIdx.x")
    sch.set_scope(acc, 0, "local")
    sch.reverse_compute_at(out, f_item, preserve_unit_loops=True)
    sch.unroll(f_vector)
    sch.vectorize(f_lane)
    if padded == int(sch.get(out).writes[0].source.shape[-1]):
        vector, lane = sch.split(sch.get_loops(out)[-1], [tile.vectors, tile.lanes])
        sch.unroll(vector)
        sch.vectorize(lane)
    else:
        sch.unroll(sch.get_loops(out)[-1])  # else the sums would be indexed at run time, and live in memory
    sch.decompose_reduction(acc, k)
    return sch.mod["main"]
