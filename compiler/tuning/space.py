"""The candidates of a layer: every choice that its templates can build and the target can run, and which are alike.

A candidate keeps its sums in registers, pads filters and pixels by no more than half, and differs from all others: two
that would start the same work-groups are one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import inf, log2
from typing import Final, TypeAlias

from ..images import TEXEL_VALUES
from ..kernel_choice import KernelChoice, decide
from ..latency_model import Lowering, has_blocks, lowering_costs
from ..layer_shape import BLOCK_CHANNELS, LayerShape
from ..schedules.linear import LinearTile
from ..schedules.tile import (
    Tile,
    has_lanes,
    is_gpu,
    largest_divisor,
    narrow_tile,
    reads_texels,
    tile_rule,
    work_group,
)
from ..targets import Target

__all__ = ["Space"]

# Of both kinds of device: sums of a work-item that registers hold, filters and pixels of it at most.
_GPU_LIMITS: Final = (64, 32, 8)
_CPU_LIMITS: Final = (512, 64, 8)
FILTERS: Final = (1, 2, 3, 4, 6, 8, 12, 13, 16, 24, 32, 48, 64)
PIXELS: Final = (1, 2, 4, 8)  # PoCL 3.0 does not come to an end with vectors of 16
WORK_ITEMS: Final = (1, 4, 8, 16, 32, 64, 128, 256)
MOST_PADDED: Final = 1.5  # times the layer's own filters and pixels
# Of what is written out, and filters of a depthwise tile, which share no pixel: more takes a device's compiler long.
MOST_STATEMENTS: Final = 96
MOST_DEPTHWISE: Final = 16
# Sums of a tile with vectors of filters: each is stored by a statement of its own.
MOST_ALONG_FILTERS: Final = 128
VECTORS: Final = (1, 2, 3, 4, 6, 8)
# How a kernel is made, and three sizes: of a work-item's work along two axes, and of a work-group.
Place: TypeAlias = tuple[str, int, int, int]
# The same with the work-group that is launched along two axes.
Launch: TypeAlias = tuple[str, int, int, int, int]


class Space:
    """All candidates of one layer.

    Args:
        shape: The layer.
        batch: Images a run, or rows.
        target: What is compiled for.

    Attributes:
        rule: What the rule chooses; always a candidate, the first.
        candidates: All of them.
        by_place: The candidate of each form and sizes that can be built; several may launch the same and are one.
    """

    def __init__(self, shape: LayerShape, batch: int, target: Target) -> None:
        self.rule = decide(shape, batch, target).kernel
        found = [self.rule, *(_linear(shape, target) if shape.kind == "linear" else _conv(shape, target))]
        different: dict[Launch, KernelChoice] = {}
        for choice in found:
            different.setdefault(_launch(choice, shape), choice)
        self.candidates = tuple(different.values())
        self.by_place = {_place(choice): different[_launch(choice, shape)] for choice in found}
        self._points = {choice: _point(launch) for launch, choice in different.items()}

    def __contains__(self, choice: KernelChoice) -> bool:
        return choice in self._points

    def neighbours(self, choice: KernelChoice) -> list[KernelChoice]:
        """The nearest candidate of each other form, and in each direction: a size up or down, or one up and one down.

        Sizes are compared by their ratios.
        """
        form, here = self._points[choice]
        nearest: dict[tuple[str, tuple[int, ...]], tuple[float, KernelChoice]] = {}
        for other, (other_form, there) in self._points.items():
            steps = [b - a for a, b in zip(here, there, strict=True)]
            signs = tuple((step > 0) - (step < 0) for step in steps)
            way = (form, signs) if other_form == form else (other_form, ())
            distance = sum(map(abs, steps))
            if other != choice and distance < nearest.get(way, (inf, other))[0]:
                nearest[way] = (distance, other)
        return [
            other for (_, signs), (_, other) in nearest.items() if abs(sum(signs)) <= 1 and sum(map(abs, signs)) <= 2
        ]


def _conv(shape: LayerShape, target: Target) -> Iterator[KernelChoice]:
    sums, most_filters, most_pixels = _GPU_LIMITS if is_gpu(target) else _CPU_LIMITS
    width = shape.output_hw[1]
    items = [count for count in WORK_ITEMS if count <= target.max_work_group_size]
    filters = _filters(shape, MOST_DEPTHWISE if shape.kind == "depthwise" else most_filters)
    pixels = [count for count in PIXELS if count <= most_pixels]
    columns = 1 if shape.kind == "depthwise" else tile_rule(target).columns
    for (lowering, form, whole_rows), texels in product(_forms(shape, target), (False, reads_texels(target))):
        for tile_filters, tile_pixels, rows in product(filters, pixels, _rows(shape, target)):
            padded = _rounded(shape.c_out, tile_filters) * _rounded(width, tile_pixels)
            written = BLOCK_CHANNELS if form == "block" else shape.kernel[1]
            statements = tile_filters * rows * (written if whole_rows else 1)
            fits = tile_filters * tile_pixels * rows <= sums and statements <= MOST_STATEMENTS
            fits = fits and not (texels and tile_filters % TEXEL_VALUES)
            if not fits or padded > MOST_PADDED * shape.c_out * width:
                continue
            for count in items:
                tile = Tile(
                    filters=tile_filters,
                    pixels=tile_pixels,
                    work_items=count,
                    rows=rows,
                    whole_rows=whole_rows,
                    columns=columns,
                    texels=texels,
                )
                yield KernelChoice(lowering=lowering, form=form, tile=tile)
        yield from _along_filters(shape, target, lowering, form, whole_rows=whole_rows)


def _rows(shape: LayerShape, target: Target) -> tuple[int, ...]:
    """Rows of vectors in a work-item; lanes have too few registers for more than one."""
    return (1,) if shape.output_hw[0] % 2 or has_lanes(target) else (1, 2)


def _along_filters(
    shape: LayerShape, target: Target, lowering: Lowering, form: Lowering, *, whole_rows: bool
) -> Iterator[KernelChoice]:
    """Vectors of filters by whole rows, where the rule would have them."""
    rule = narrow_tile(shape.c_out, shape.output_hw, target) if shape.groups == 1 else None
    if rule is None:
        return
    height, width = shape.output_hw
    for filters, rows in product((8, 16, 24), range(1, height + 1)):
        sums, padded = filters * rows * width, _rounded(shape.c_out, filters)
        if height % rows or sums > MOST_ALONG_FILTERS or padded > MOST_PADDED * shape.c_out:
            continue
        tile = replace(rule, filters=filters, pixels=rows * width, whole_rows=whole_rows)
        yield KernelChoice(lowering=lowering, form=form, tile=tile)


def _forms(shape: LayerShape, target: Target) -> list[tuple[Lowering, Lowering, bool]]:
    """Lowering, form, and whether the innermost loop is written out."""
    forms: list[tuple[Lowering, Lowering, bool]] = [("dense", "dense", False)]
    if shape.kernel[1] > 1:
        forms.append(("dense", "dense", True))
    if shape.kind == "conv" and shape.kernel != (1, 1):
        forms.append(("dense", "column", False))
        if has_blocks(shape, target):
            forms.append(("dense", "block", True))
    lowerings = [lowering for lowering in lowering_costs(shape, target) if lowering != "dense"]
    return [*forms, *((lowering, lowering, lowering == "block") for lowering in lowerings)]


def _filters(shape: LayerShape, most: int) -> list[int]:
    """Filters of a tile: equal parts of all, or divisors of a group's."""
    limits = [count for count in FILTERS if count <= most]
    if shape.groups > 1 and shape.kind != "depthwise":
        return sorted({largest_divisor(shape.c_out // shape.groups, limit) for limit in limits})
    return sorted({-(-shape.c_out // -(-shape.c_out // limit)) for limit in limits})


def _linear(shape: LayerShape, target: Target) -> Iterator[KernelChoice]:
    lanes = (4,) if is_gpu(target) else (4, 8)
    items = [count for count in WORK_ITEMS if count <= target.max_work_group_size]
    for vectors, width, count, shared in product(VECTORS, lanes, items, (False, True)):
        features = vectors * width
        whole = _rounded(shape.c_out, features * count)
        if whole > max(MOST_PADDED * shape.c_out, _rounded(shape.c_out, features)):
            continue
        block = features * (count if shared else 1)
        yield KernelChoice(
            lowering="dense", tile=LinearTile(vectors=vectors, lanes=width, work_items=count, block=block)
        )


def _launch(choice: KernelChoice, shape: LayerShape) -> Launch:
    """What is launched: candidates with the same are the same."""
    form, first, second, items = _place(choice)
    tile = choice.tile
    if isinstance(tile, LinearTile):
        return form, first, second, items, 1
    tiles = shape.output_hw[0] // tile.rows * -(-shape.output_hw[1] // tile.pixels)
    if tile.along_filters:
        tiles = shape.output_hw[0] * shape.output_hw[1] // tile.pixels
        return form, first, second, work_group(tiles, tile.work_items), 1
    items_x = work_group(tiles, tile.work_items)
    rows = -(-shape.c_out // tile.filters)
    return form, first, second, items_x, largest_divisor(rows, max(1, tile.work_items // items_x))


def _point(launch: Launch) -> tuple[str, tuple[float, float, float]]:
    """Form, and logarithms of the three sizes."""
    form, first, second, items_x, items_y = launch
    return form, (log2(first), log2(second), log2(items_x * items_y))


def _place(choice: KernelChoice) -> Place:
    tile = choice.tile
    if isinstance(tile, LinearTile):
        shared = tile.block > tile.vectors * tile.lanes
        return ("by work-group" if shared else "by work-item", tile.vectors, tile.lanes, tile.work_items)
    form = f"{choice.lowering} as {choice.form}{' written out' * tile.whole_rows}{' texels' * tile.texels}"
    form += " by filters" * tile.along_filters + " in rows" * (tile.rows > 1)
    return (form, tile.filters, tile.pixels, tile.work_items)


def _rounded(count: int, step: int) -> int:
    return -(-count // step) * step
