"""Everything without a schedule of its own: pooling, means, softmax, slices, copies, element by element.

Elementwise blocks are inlined; each block that is left becomes one kernel with one output element per work-item and its
reduction, if any, as an inner loop on a private accumulator. A reduction takes its elementwise epilogue with it.
"""

from __future__ import annotations

from math import prod

from tvm import s_tir
from tvm.s_tir.schedule import LoopRV, SBlockRV

from .epilogue import is_reduction, root_blocks, try_inline
from .tile import work_group

__all__ = ["schedule_generic"]

WORK_ITEMS = 64


def schedule_generic(sch: s_tir.Schedule) -> None:
    """Bind every block of the function; several may stay, and become several kernels."""
    for block in root_blocks(sch):
        if not is_reduction(sch, block):
            try_inline(sch, block)
    done: set[str] = set()
    for block in reversed(root_blocks(sch)):
        name = sch.get(block).name_hint
        if name not in done:
            done.add(name)
            done.update(_bind(sch, block))


def _bind(sch: s_tir.Schedule, block: SBlockRV) -> set[str]:
    """Bind one block; returns names of blocks that moved into its kernel."""
    if is_reduction(sch, block):
        copy = sch.cache_write(block, 0, "local")
        _move_into(sch, block, _bind_spatial(sch, copy))
        return {sch.get(copy).name_hint}
    item = _bind_spatial(sch, block)
    producers = [p for p in sch.get_producers(block) if is_reduction(sch, p)]
    if len(producers) != 1 or len(sch.get_consumers(producers[0])) != 1:
        return set()
    producer = producers[0]
    if not _same_elements(sch, producer, block):
        return set()
    sch.set_scope(producer, 0, "local")
    _move_into(sch, producer, item)
    return {sch.get(producer).name_hint}


def _move_into(sch: s_tir.Schedule, block: SBlockRV, item: LoopRV) -> None:
    sch.compute_at(block, item, preserve_unit_loops=True)
    loops = sch.get_loops(block)
    axes = sch.get(block).iter_vars
    reduction = loops[len(loops) - sum(int(axis.iter_type) == 2 for axis in axes) :]
    sch.decompose_reduction(block, reduction[0])


def _bind_spatial(sch: s_tir.Schedule, block: SBlockRV) -> LoopRV:
    loops = sch.get_loops(block)
    fused = sch.fuse(*loops) if loops else sch.add_unit_loop(block)
    count = int(sch.get(fused).extent)
    group, item = sch.split(fused, [None, work_group(count, WORK_ITEMS)])
    sch.bind(group, "blockIdx.x")
    sch.bind(item, "threadIdx.x")
    return item


def _same_elements(sch: s_tir.Schedule, producer: SBlockRV, consumer: SBlockRV) -> bool:
    """Whether each element of the producer is read for exactly one element of the consumer."""
    written = sch.get(producer).writes[0].source
    reads = [r for r in sch.get(consumer).reads if r.source.same_as(written)]
    out = sch.get(consumer).writes[0].source
    return (
        len(reads) == 1
        and prod(map(int, written.shape)) == prod(map(int, out.shape))
        and all(int(axis.extent) == 1 for axis in reads[0].region)
    )
