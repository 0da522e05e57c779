"""A fused PrimFunc becomes kernels: layer schedule, tensor layouts, code; equal functions are built once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir.schedule import SBlockRV, ScheduleError

from .codegen.code_generation import KernelGroup, build_kernels
from .codegen.device_functions import with_layouts
from .codegen.half_storage import store_parameters
from .errors import CompileError
from .legalize.legalizer import LAYER_ANNOTATION, Layer
from .memory.layout import Layout
from .schedules.conv import schedule_conv
from .schedules.epilogue import root_blocks
from .schedules.generic import schedule_generic, spread_for
from .schedules.linear import LinearTile, schedule_linear
from .schedules.tile import Tile
from .targets import Target

__all__ = ["KernelBuilder"]

Layouts = tuple[Layout | None, ...]


@dataclass
class KernelBuilder:
    """Builds kernels for one network.

    Attributes:
        target: What is compiled for.
        layers: What `LAYER_ANNOTATION` indexes.
    """

    target: Target
    layers: Sequence[Layer]
    _built: dict[tuple[Any, ...], KernelGroup] = field(default_factory=dict)

    def build(
        self, function: tirx.PrimFunc, layouts: Layouts, dtypes: tuple[str, ...], name: str
    ) -> tuple[KernelGroup, Layer | None]:
        """Kernels of a function, and the layer in it.

        Args:
            function: Not yet scheduled.
            layouts: Of its parameters; None for rows without gaps.
            dtypes: Of its parameters in memory.
            name: Stem of the kernels' names.

        Raises:
            CompileError: If no schedule fits, or TVM cannot generate code.
        """
        schedule = s_tir.Schedule(function)
        layer, anchor = self._take_layer(schedule)
        unmarked = schedule.mod["main"]
        structure = tvm_ffi.StructuralKey(unmarked)  # type: ignore[call-arg]
        key = (structure, layouts, dtypes, layer.kernel if layer else None)
        if key not in self._built:
            scheduled = self._schedule(schedule, unmarked, layer, anchor, layouts[-1], name)
            # Layouts and types come after the schedule: a private copy of a tensor must not inherit its own.
            stored = store_parameters(with_layouts(scheduled, layouts), dtypes)
            self._built[key] = build_kernels(stored, self.target, name=name, layouts=layouts)
        return self._built[key], layer

    def _take_layer(self, schedule: s_tir.Schedule) -> tuple[Layer | None, SBlockRV | None]:
        """The layer whose block is in the function; its mark is removed, so that equal functions are equal."""
        for block in root_blocks(schedule):
            if LAYER_ANNOTATION in schedule.get(block).annotations:
                index = int(schedule.get(block).annotations[LAYER_ANNOTATION])
                schedule.unannotate(block, LAYER_ANNOTATION)
                return self.layers[index], block
        return None, None

    def _schedule(
        self,
        schedule: s_tir.Schedule,
        unmarked: tirx.PrimFunc,
        layer: Layer | None,
        anchor: SBlockRV | None,
        output: Layout | None,
        name: str,
    ) -> tirx.PrimFunc:
        """By the layer's schedule; by the generic one where there is none or where it refuses the fusion."""
        try:
            tile = layer.kernel.tile if layer is not None and layer.kernel is not None else None
            if isinstance(tile, Tile):
                return schedule_conv(schedule, anchor, tile, row=0 if output is None else output.pitch)
            if isinstance(tile, LinearTile):
                return schedule_linear(schedule, anchor, tile)
        except ScheduleError:
            schedule = s_tir.Schedule(unmarked)
        try:
            return schedule_generic(schedule, spread_for(self.target))
        except ScheduleError as error:
            raise CompileError(f"no schedule fits {name!r}: {error}") from error
