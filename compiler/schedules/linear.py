"""Linear layer: one vector of output features per work-item, weights streamed once.

acc[n, f] = sum over k of w[k, f] * x[n, k],     out = epilogue(crop(acc))
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import s_tir, te, tirx
from tvm.s_tir.schedule import SBlockRV

from .epilogue import inline_epilogue
from .tile import work_group

__all__ = ["FEATURES_PER_ITEM", "linear", "pack_linear_weight", "schedule_linear"]

FEATURES_PER_ITEM = 4
WORK_ITEMS = 16


def pack_linear_weight(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``(in, out)`` with ``out`` rounded up to whole vectors of zeros."""
    features = -(-weight.shape[1] // FEATURES_PER_ITEM) * FEATURES_PER_ITEM
    packed = np.zeros((weight.shape[0], features), np.float32)
    packed[:, : weight.shape[1]] = weight
    return packed


def linear(x: te.Tensor, weight: te.Tensor, features: int, attrs: dict[str, Any]) -> te.Tensor:
    """``x (n, in)`` times the packed weight, first ``features`` columns."""
    k = te.reduce_axis((0, x.shape[1]), name="k")
    rows, padded = x.shape[0], weight.shape[1]
    acc = te.compute((rows, padded), lambda n, f: te.sum(weight[k, f] * x[n, k], axis=k), name="acc", attrs=attrs)
    return te.compute((rows, features), lambda n, f: acc[n, f], name="linear")


def schedule_linear(sch: s_tir.Schedule, acc: SBlockRV) -> tirx.PrimFunc:
    """Bind a fused linear layer."""
    out = inline_epilogue(sch, acc)
    n, f, k = sch.get_loops(acc)
    padded = int(sch.get(f).extent)
    f_item, f_lane = sch.split(f, [None, FEATURES_PER_ITEM])
    f_group, f_item = sch.split(f_item, [None, work_group(padded // FEATURES_PER_ITEM, WORK_ITEMS)])
    sch.reorder(n, f_group, f_item, k, f_lane)
    sch.bind(n, "blockIdx.y")
    sch.bind(f_group, "blockIdx.x")
    sch.bind(f_item, "threadIdx.x")
    sch.set_scope(acc, 0, "local")
    sch.reverse_compute_at(out, f_item, preserve_unit_loops=True)
    sch.vectorize(f_lane)
    if padded == int(sch.get(out).writes[0].source.shape[-1]):
        sch.vectorize(sch.get_loops(out)[-1])
    sch.decompose_reduction(acc, k)
    return sch.mod["main"]
