"""Set the halos of all activations to zero: the first kernel of a package, one cell per work-item.

    region[cells[i]] = 0

Memory is not assumed to be zero when a package is loaded, and no other kernel writes a halo (`layout`).
"""

from __future__ import annotations

from tvm import tirx
from tvm.script import tirx as T

from .generic import Spread

__all__ = ["clear_cells"]


def clear_cells(cells: int, elements: int, spread: Spread | None = None) -> tirx.PrimFunc:
    """A bound function of two parameters, the region and the table of its cells.

    Args:
        cells: Length of the table.
        elements: Length of the region.
        spread: By default a cell per work-item.
    """
    spread = spread or Spread()
    each = min(cells, spread.elements)
    items = min(-(-cells // each), spread.work_items)
    groups = -(-cells // (each * items))

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def clear(
        region: T.Buffer((elements,), "float32"),  # type: ignore[valid-type]
        table: T.Buffer((cells,), "int32"),  # type: ignore[valid-type]
    ) -> None:
        for group in T.thread_binding(groups, thread="blockIdx.x"):
            for item in T.thread_binding(items, thread="threadIdx.x"):
                for cell in T.serial(each):
                    if (group * items + item) * each + cell < cells:
                        region[table[(group * items + item) * each + cell]] = T.float32(0)

    return clear
