"""Fusion inside a PrimFunc: everything elementwise after an anchor block ends up in one output block."""

from __future__ import annotations

from tvm import s_tir
from tvm.s_tir.schedule import SBlockRV, ScheduleError

__all__ = ["inline_epilogue", "is_reduction", "root_blocks"]


def root_blocks(sch: s_tir.Schedule) -> list[SBlockRV]:
    """All computing blocks of the function, in order."""
    return list(sch.get_child_blocks(sch.get_sblock("root")))


def is_reduction(sch: s_tir.Schedule, block: SBlockRV) -> bool:
    """Whether a block has a reduction axis."""
    return any(int(axis.iter_type) == 2 for axis in sch.get(block).iter_vars)


def inline_epilogue(sch: s_tir.Schedule, anchor: SBlockRV) -> SBlockRV:
    """Inline all blocks but ``anchor`` into the output block, which is returned."""
    anchor_name = sch.get(anchor).name_hint
    *others, output = root_blocks(sch)
    for block in others:
        if sch.get(block).name_hint != anchor_name:
            sch.compute_inline(block)
    return output


def try_inline(sch: s_tir.Schedule, block: SBlockRV) -> bool:
    """Inline a block into its consumers if the schedule's rules allow it."""
    try:
        sch.compute_inline(block)
    except ScheduleError:
        return False
    return True
