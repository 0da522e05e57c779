"""Which layout each activation has: one for all activations of a shape, from the convolutions that read and write it.

A convolution's padding asks for a halo around its input; its vectors ask for rows of whole vectors behind its output.
Shapes that a view (reshape, flatten) reads keep plain rows, so that the view costs nothing. What a concatenation joins
and what a slice of channels cuts has the same halo and rows as the whole, so that it can lie inside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import tvm
from tvm import relax

from ..conv_call import conv_shape
from ..kernel_choice import UNTUNED, TunedKernels, decide
from ..nonnegative import find_nonnegative
from ..pool_call import POOLS, pool_task
from ..schedules.pool import PoolTask
from ..schedules.tile import Tile, pool_tile
from ..targets import Target
from .layout import SLACK_ELEMENTS, Layout

__all__ = [
    "CHANNEL_AXIS",
    "CONCAT",
    "VIEW_OPERATORS",
    "ActivationLayouts",
    "channel_slice",
    "find_layouts",
    "split_axis",
    "static_shape",
]

VIEW_OPERATORS = ("relax.reshape", "relax.flatten", "relax.squeeze", "relax.expand_dims")
CONCAT = "relax.concat"
CHANNEL_AXIS = 1

# Vulkan loads vectors from addresses that are multiples of them; OpenCL from any.
VECTOR_ELEMENTS = 4

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ActivationLayouts:
    """Halo and least row length by shape; shapes that are not listed have plain rows.

    Attributes:
        halos: Zero rows and columns around a shape's planes.
        rows: Least elements from one row to the next.
        align: Rows with a halo begin at multiples of this many elements.
        nonnegative: Values without a negative number.
    """

    halos: dict[Shape, tuple[int, int]]
    rows: dict[Shape, int]
    align: int = 1
    nonnegative: frozenset[relax.Var] = frozenset()

    def of(self, shape: Shape) -> Layout:
        """Layout of an activation that a kernel writes."""
        return Layout(
            shape=shape,
            halo=self.halos.get(shape, (0, 0)),
            row=self.rows.get(shape, 0),
            slack=SLACK_ELEMENTS,
            align=self.align,
        )

    def has_zeros_around(self, value: relax.Expr, task: PoolTask) -> bool:
        """Whether the zeros around a value that a pool reads are as many as it reaches, and change no result."""
        halo = self.halos.get(static_shape(value), (0, 0))
        reached = task.reach[0] <= halo[0] and task.reach[1] <= halo[1]
        return reached and (task.mode == "average" or value in self.nonnegative)


@dataclass
class _Wishes:
    """What operators ask of the shapes that share memory, by the first of them."""

    first: dict[Shape, Shape] = field(default_factory=dict)
    halos: dict[Shape, tuple[int, int]] = field(default_factory=dict)
    rows: dict[Shape, int] = field(default_factory=dict)
    viewed: set[Shape] = field(default_factory=set)

    def find(self, shape: Shape) -> Shape:
        while (parent := self.first.setdefault(shape, shape)) != shape:
            shape = parent
        return shape

    def join(self, shapes: list[Shape]) -> None:
        for shape in shapes[1:]:
            self.first[self.find(shape)] = self.find(shapes[0])

    def halo(self, shape: Shape, height: int, width: int) -> None:
        before = self.halos.get(self.find(shape), (0, 0))
        self.halos[self.find(shape)] = (max(before[0], height), max(before[1], width))

    def row(self, shape: Shape, elements: int) -> None:
        self.rows[self.find(shape)] = max(self.rows.get(self.find(shape), 0), elements)


def find_layouts(module: tvm.IRModule, target: Target, tuned: TunedKernels = UNTUNED) -> ActivationLayouts:
    """Layouts for a Relax module that is not yet legalized, whose kernels are those of `decide`."""
    wishes = _Wishes()
    calls, nonnegative = list(_calls(module)), find_nonnegative(module)
    for call in calls:
        wishes.join(_sharing(call))
    for call in calls:
        if call.op.name in VIEW_OPERATORS:
            wishes.viewed.add(wishes.find(static_shape(call.args[0])))
        if call.op.name == "relax.nn.conv2d" and call.attrs.data_layout == "NCHW":
            padding = [int(p) for p in call.attrs.padding]
            wishes.halo(static_shape(call.args[0]), max(padding[0], padding[2]), max(padding[1], padding[3]))
            output = tuple(int(size) for size in call.ty.shape)
            pixels = _pixels(call, target, tuned)
            wishes.row(output, -(-output[3] // pixels) * pixels)
        if call.op.name in POOLS and (task := pool_task(call)) is not None:
            if task.mode == "average" or call.args[0] in nonnegative:
                wishes.halo(static_shape(call.args[0]), *task.reach)
            tile = pool_tile((task.output_shape[2], task.output_shape[3]), task.stride, target)
            if tile is not None:
                wishes.row(task.output_shape, -(-task.output_shape[3] // tile.pixels) * tile.pixels)
    shapes = [shape for shape in wishes.first if len(shape) == 4]
    halos = {shape: wishes.halos.get(wishes.find(shape), (0, 0)) for shape in shapes}
    rows = {shape: wishes.rows.get(wishes.find(shape), 0) for shape in shapes}
    return ActivationLayouts(
        halos={shape: halo for shape, halo in halos.items() if any(halo)},
        rows={
            shape: row for shape, row in rows.items() if wishes.find(shape) not in wishes.viewed or any(halos[shape])
        },
        align=VECTOR_ELEMENTS if target.backend == "vulkan" else 1,
        nonnegative=nonnegative,
    )


def _pixels(call: relax.Call, target: Target, tuned: TunedKernels) -> int:
    """Pixels of a row that the kernel of a convolution stores at once; 1 where its weight is computed."""
    weight = call.args[1]
    if not isinstance(weight, tvm.ir.GenericConst):
        return 1
    tile = decide(conv_shape(call, weight.value.numpy()), static_shape(call.args[0])[0], target, tuned).kernel.tile
    return tile.row_pixels if isinstance(tile, Tile) else 1


def static_shape(expr: relax.Expr) -> Shape:
    """Shape of a Relax value as integers."""
    return tuple(int(size) for size in expr.ty.shape)


def split_axis(call: relax.Call) -> int | None:
    """The axis of a concatenation or a split, counted from the front; None for other operators."""
    if call.op.name == CONCAT and call.attrs.axis is not None:
        return int(call.attrs.axis) % len(call.ty.shape)
    if call.op.name == "relax.split":
        return int(call.attrs.axis) % len(call.args[0].ty.shape)
    return None


def channel_slice(value: relax.Expr | None) -> int | None:
    """The first channel of a slice that takes neighbouring channels and everything else whole; None for others."""
    if not isinstance(value, relax.Call) or not isinstance(value.op, tvm.ir.Op):
        return None
    if value.op.name != "relax.strided_slice":
        return None
    before, after = static_shape(value.args[0]), tuple(int(size) for size in value.ty.shape)
    axes, begin = _integers(value.args[1]), _integers(value.args[2])
    steps = _integers(value.args[4]) if len(value.args) > 4 else [1] * len(axes)
    if len(before) < 2 or before[0] != after[0] or before[2:] != after[2:] or any(step != 1 for step in steps):
        return None
    first = next((start for axis, start in zip(axes, begin, strict=True) if axis % len(before) == CHANNEL_AXIS), 0)
    first += before[CHANNEL_AXIS] if first < 0 else 0
    return first if 0 <= first <= before[CHANNEL_AXIS] - after[CHANNEL_AXIS] else None


def _integers(values: relax.Expr) -> list[int]:
    """Constants in a tuple of Relax."""
    return [int(getattr(item, "value", item)) for item in values.fields]


def _sharing(call: relax.Call) -> list[Shape]:
    """Shapes that may lie in each other's memory because of this operator."""
    if channel_slice(call) is not None:
        return [static_shape(call.args[0]), tuple(int(size) for size in call.ty.shape)]
    if split_axis(call) != CHANNEL_AXIS:
        return []
    if call.op.name == CONCAT:
        parts, whole = call.args[0].ty.fields, call.ty
    else:
        parts, whole = call.ty.fields, call.args[0].ty
    return [tuple(int(size) for size in item.shape) for item in (whole, *parts)]


def _calls(module: tvm.IRModule) -> Iterator[relax.Call]:
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            if isinstance(binding.value, relax.Call) and isinstance(binding.value.op, tvm.ir.Op):
                yield binding.value
