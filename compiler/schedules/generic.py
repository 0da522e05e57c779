"""Everything without a schedule of its own: pooling, means, softmax, slices, copies, element by element.

Elementwise blocks are inlined; each block that is left becomes one kernel with one output element per work-item (or
several, where starting work-items is what costs) and its reduction, if any, as an inner loop on a private accumulator.
A reduction takes its elementwise epilogue with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir.schedule import LoopRV, SBlockRV

from ..targets import Target
from .epilogue import is_reduction, root_blocks, try_inline
from .tile import has_lanes, is_gpu, largest_divisor, work_group

__all__ = ["Spread", "schedule_generic", "spread_for"]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How elements are spread.

    Attributes:
        work_items: Work-items per work-group, at most.
        elements: Neighbouring elements per work-item, at most.
        sums: The same of a reduction.
        in_rows: Whether these are elements of one row, whose addresses follow each other in every layout.
    """

    work_items: int = 64
    elements: int = 1
    sums: int = 1
    in_rows: bool = False


def spread_for(target: Target) -> Spread:
    """One element per work-item on a GPU.

    Up to 32 on lanes of a CPU, where starting eight of them costs as many loads; on a CPU parts of rows, which its
    compiler turns into vectors.
    """
    if is_gpu(target):
        return Spread()
    return Spread(work_items=32, elements=32, sums=32) if has_lanes(target) else Spread(elements=64, in_rows=True)


def schedule_generic(sch: s_tir.Schedule, spread: Spread | None = None) -> tirx.PrimFunc:
    """Bind every block of the function; several may stay, and become several kernels.

    Args:
        sch: Schedule of the fused function.
        spread: By default an element per work-item.
    """
    spread = spread or Spread()
    for block in root_blocks(sch):
        if not is_reduction(sch, block):
            try_inline(sch, block)
    done: set[str] = set()
    for block in reversed(root_blocks(sch)):
        name = sch.get(block).name_hint
        if name not in done:
            done.add(name)
            done.update(_bind(sch, block, spread))
    return sch.mod["main"]


def _bind(sch: s_tir.Schedule, block: SBlockRV, spread: Spread) -> set[str]:
    """Bind one block; returns names of blocks that moved into its kernel."""
    if is_reduction(sch, block):
        copy = sch.cache_write(block, 0, "local")
        sch.reverse_compute_at(copy, _bind_reduction(sch, block, spread))
        return {sch.get(copy).name_hint}
    producers = [p for p in sch.get_producers(block) if is_reduction(sch, p)]
    if len(producers) == 1 and _same_elements(sch, producers[0], block):
        producer = producers[0]
        sch.set_scope(producer, 0, "local")
        sch.reverse_compute_at(block, _bind_reduction(sch, producer, spread))
        return {sch.get(producer).name_hint}
    _bind_loops(sch, sch.get_loops(block) or [sch.add_unit_loop(block)], spread)
    return set()


def _bind_reduction(sch: s_tir.Schedule, block: SBlockRV, spread: Spread) -> LoopRV:
    """Bind the spatial loops, which come first; returns the loop over one element."""
    loops = sch.get_loops(block)
    reductions = sum(int(axis.iter_type) == 2 for axis in sch.get(block).iter_vars)
    spatial = loops[: len(loops) - reductions] or [sch.add_unit_loop(loops[0])]
    element = _bind_loops(sch, spatial, spread, sums=True)
    sch.decompose_reduction(block, sch.get_loops(block)[-reductions])
    return element


def _bind_loops(sch: s_tir.Schedule, loops: list[LoopRV], spread: Spread, *, sums: bool = False) -> LoopRV:
    row = int(sch.get(loops[-1]).extent)
    fused = sch.fuse(*loops)
    extent = int(sch.get(fused).extent)
    elements = largest_divisor(row if spread.in_rows else extent, spread.sums if sums else spread.elements)
    items = work_group(extent // elements, spread.work_items)
    factors = [None, items] if elements == 1 else [None, items, elements]
    group, item, *element = sch.split(fused, factors)
    sch.bind(group, "blockIdx.x")
    sch.bind(item, "threadIdx.x")
    return element[0] if element else item


def _same_elements(sch: s_tir.Schedule, producer: SBlockRV, consumer: SBlockRV) -> bool:
    """Whether element (i, j, …) of the consumer is made of element (i, j, …) of the producer, which none else reads."""
    written = sch.get(producer).writes[0].source
    realize = sch.get(consumer)
    reads = [read for read in realize.reads if read.source.same_as(written)]
    if len(sch.get_consumers(producer)) != 1 or len(reads) != 1:
        return False
    return tvm_ffi.structural_equal(reads[0].region, realize.writes[0].region)
