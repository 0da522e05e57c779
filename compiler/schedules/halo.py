"""Set the halos of all activations to zero: the first kernel of a package, one cell per work-item.

    region[cells[i]] = 0

Memory is not assumed to be zero when a package is loaded, and no other kernel writes a halo (`layout`).
"""

from __future__ import annotations

from tvm import tirx
from tvm.script import tirx as T

__all__ = ["clear_cells"]

WORK_ITEMS = 64


def clear_cells(cells: int, elements: int) -> tirx.PrimFunc:
    """A bound function of two parameters, the region and the table of its cells.

    Args:
        cells: Length of the table.
        elements: Length of the region.
    """
    groups, items = -(-cells // WORK_ITEMS), min(cells, WORK_ITEMS)

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def clear(
        region: T.Buffer((elements,), "float32"),  # type: ignore[valid-type]
        table: T.Buffer((cells,), "int32"),  # type: ignore[valid-type]
    ) -> None:
        for group in T.thread_binding(groups, thread="blockIdx.x"):
            for item in T.thread_binding(items, thread="threadIdx.x"):
                if group * items + item < cells:
                    region[table[group * items + item]] = T.float32(0)

    return clear
