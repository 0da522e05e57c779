"""Which layout each activation has: one for all activations of a shape, from the convolutions that read and write it.

A convolution's padding asks for a halo around its input; its vectors ask for rows of whole vectors behind its output.
Shapes that a view (reshape, flatten) reads keep plain rows, so that the view costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tvm
from tvm import relax

from .layout import SLACK_ELEMENTS, Layout
from .schedules.tile import choose_tile
from .targets import Target

__all__ = ["VIEW_OPERATORS", "ActivationLayouts", "find_layouts", "static_shape"]

VIEW_OPERATORS = ("relax.reshape", "relax.flatten", "relax.squeeze", "relax.expand_dims")

# Vulkan loads vectors from addresses that are multiples of them; OpenCL from any.
VECTOR_ELEMENTS = 4

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ActivationLayouts:
    """Halo and least row length by shape; shapes that are not listed have plain rows."""

    halos: dict[Shape, tuple[int, int]]
    rows: dict[Shape, int]
    align: int = 1

    def of(self, shape: Shape) -> Layout:
        """Layout of an activation that a kernel writes."""
        return Layout(
            shape=shape,
            halo=self.halos.get(shape, (0, 0)),
            row=self.rows.get(shape, 0),
            slack=SLACK_ELEMENTS,
            align=self.align,
        )


def find_layouts(module: tvm.IRModule, target: Target) -> ActivationLayouts:
    """Layouts for a Relax module that is not yet legalized."""
    halos: dict[Shape, tuple[int, int]] = {}
    rows: dict[Shape, int] = {}
    viewed: set[Shape] = set()
    for call in _calls(module):
        if call.op.name in VIEW_OPERATORS:
            viewed.add(static_shape(call.args[0]))
        if call.op.name != "relax.nn.conv2d" or call.attrs.data_layout != "NCHW":
            continue
        shape, padding = static_shape(call.args[0]), [int(p) for p in call.attrs.padding]
        before = halos.get(shape, (0, 0))
        halos[shape] = (max(before[0], padding[0], padding[2]), max(before[1], padding[1], padding[3]))
        output = tuple(int(size) for size in call.ty.shape)
        tile = choose_tile(output[1], (output[2], output[3]), output[0], target)
        rows[output] = -(-output[3] // tile.pixels) * tile.pixels
    return ActivationLayouts(
        halos=halos,
        rows={shape: row for shape, row in rows.items() if shape not in viewed or any(halos.get(shape, ()))},
        align=VECTOR_ELEMENTS if target.backend == "vulkan" else 1,
    )


def static_shape(expr: relax.Expr) -> Shape:
    """Shape of a Relax value as integers."""
    return tuple(int(size) for size in expr.ty.shape)


def _calls(module: tvm.IRModule) -> Iterator[relax.Call]:
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            if isinstance(binding.value, relax.Call) and isinstance(binding.value.op, tvm.ir.Op):
                yield binding.value
