"""Steps that set halos to zero, put into a lowered network where its memory plan asks for them."""

from __future__ import annotations

from dataclasses import replace

from ...device.package_records import DTYPE_BYTES
from ..codegen.code_generation import build_kernels
from ..codegen.device_functions import with_layouts
from ..codegen.half_storage import store_parameters
from ..lowered import LoweredNetwork, LoweredStep, Tensor
from ..schedules.generic import spread_for
from ..schedules.halo import clear_cells
from ..targets import Target
from .execution_plan import HaloClearing, MemoryPlan, place_weight
from .layout import Layout

__all__ = ["insert_clearings"]


def insert_clearings(network: LoweredNetwork, plan: MemoryPlan, target: Target) -> tuple[LoweredNetwork, MemoryPlan]:
    """The network with the plan's clearing steps, and the plan with their tensors."""
    steps = list(network.steps)
    for number, clearing in reversed(list(enumerate(plan.clearings))):
        region = Tensor(
            name=f"halos{number}",
            role="activation",
            dtype=clearing.dtype,
            layout=Layout(shape=(clearing.size_bytes // DTYPE_BYTES[clearing.dtype],)),
        )
        table = Tensor(
            name=f"halo_cells{number}",
            role="weight",
            dtype="int32",
            layout=Layout(shape=clearing.cells.shape),
            data=clearing.cells,
        )
        steps.insert(clearing.step, _step(region, table, clearing, target))
        plan = replace(plan, tensors=(*plan.tensors, region), offsets=(*plan.offsets, clearing.offset))
        plan = place_weight(plan, table)
    return replace(network, steps=tuple(steps)), plan


def _step(region: Tensor, table: Tensor, clearing: HaloClearing, target: Target) -> LoweredStep:
    function = with_layouts(clear_cells(clearing.cells.size, region.layout.elements, spread_for(target)), [None, None])
    stored = store_parameters(function, [region.dtype, table.dtype])
    (kernel,) = build_kernels(stored, target, name="clear_halos").kernels
    by_name = {"a0": region, "a1": table}
    return LoweredStep(
        kernel=kernel,
        arguments=tuple(by_name[name] for name in kernel.arguments),
        written=(region,),
        operator="clear_halos",
        layer=None,
        moved_bytes=clearing.cells.size * (table.item_bytes + region.item_bytes),
    )
