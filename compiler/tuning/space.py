"""The candidates of a layer: every choice that its templates can build and the target can run, and which are alike.

A candidate keeps its sums in registers, pads filters and pixels by no more than half, and differs from all others: two
that would start the same work-groups are one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import log2
from typing import Final, TypeAlias, cast

from ..images import TEXEL_VALUES
from ..kernel_choice import KernelChoice, decide
from ..latency_model import Lowering, has_blocks, lowering_costs
from ..layer_shape import LayerShape
from ..schedules.linear import LinearTile
from ..schedules.tile import Tile, is_gpu, largest_divisor, reads_texels, work_group
from ..targets import Target

__all__ = ["Space"]

# Of both kinds of device: sums of a work-item that registers hold, filters and pixels of it at most.
_GPU_LIMITS: Final = (64, 32, 8)
_CPU_LIMITS: Final = (512, 64, 8)
FILTERS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
PIXELS: Final = (1, 2, 4, 8)  # PoCL 3.0 does not come to an end with vectors of 16
WORK_ITEMS: Final = (1, 4, 8, 16, 32, 64, 128, 256)
MOST_PADDED: Final = 1.5  # times the layer's own filters and pixels
MOST_STATEMENTS: Final = 256  # of a row of the kernel that is written out
VECTORS: Final = (1, 2, 3, 4, 6, 8)
# How a kernel is made, and three sizes: of a work-item's work along two axes, and of a work-group.
Place: TypeAlias = tuple[str, int, int, int]


class Space:
    """All candidates of one layer.

    Args:
        shape: The layer.
        batch: Images a run, or rows.
        target: What is compiled for.

    Attributes:
        rule: What the rule chooses; always a candidate, the first.
        candidates: All of them.
    """

    def __init__(self, shape: LayerShape, batch: int, target: Target) -> None:
        self.rule = decide(shape, batch, target).kernel
        found = _linear(shape, target) if shape.kind == "linear" else _conv(shape, target)
        different = {_launch(choice, shape): choice for choice in (*found, self.rule)}  # of equal ones, the rule's
        self.candidates = (self.rule, *(choice for choice in different.values() if choice != self.rule))
        self._places = {choice: _place(choice) for choice in self.candidates}
        self._axes = [sorted({place[axis] for place in self._places.values()}) for axis in (1, 2)]
        self._groups: dict[tuple[str, int, int], list[int]] = {}
        for *work, items in sorted(self._places.values()):
            self._groups.setdefault(cast(tuple[str, int, int], tuple(work)), []).append(items)

    def __contains__(self, choice: KernelChoice) -> bool:
        return choice in self._places

    def neighbours(self, choice: KernelChoice) -> list[KernelChoice]:
        """Candidates one step away.

        A step is the next size of a work-group; or another form, the next filters or pixels of a work-item, or one of
        them up and the other down, each with work-groups as alike as there are.
        """
        return [other for other in self.candidates if self._is_near(self._places[choice], self._places[other])]

    def place(self, choice: KernelChoice) -> Place:
        """Where a candidate lies."""
        return self._places[choice]

    def _is_near(self, here: Place, there: Place) -> bool:
        if here[:3] == there[:3]:
            items = self._groups[here[:3]]
            return abs(items.index(here[3]) - items.index(there[3])) == 1
        steps = [axis.index(b) - axis.index(a) for axis, a, b in zip(self._axes, here[1:3], there[1:3], strict=True)]
        moved = sum(map(abs, steps))
        one_step = moved == 0 if here[0] != there[0] else moved == 1 or (moved == 2 and sum(steps) == 0)
        return one_step and (self._nearest(there, here[3]) == there[3] or self._nearest(here, there[3]) == here[3])

    def _nearest(self, place: Place, items: int) -> int:
        """The work-group of the same work-items that is most like one of ``items``."""
        return min(self._groups[place[:3]], key=lambda count: abs(log2(count / items)))


def _conv(shape: LayerShape, target: Target) -> Iterator[KernelChoice]:
    sums, most_filters, most_pixels = _GPU_LIMITS if is_gpu(target) else _CPU_LIMITS
    width = shape.output_hw[1]
    items = [count for count in WORK_ITEMS if count <= target.max_work_group_size]
    filters = _filters(shape, most_filters)
    pixels = [count for count in PIXELS if count <= most_pixels]
    for lowering, form, whole_rows in _forms(shape, target):
        for tile_filters, tile_pixels in product(filters, pixels):
            padded = _rounded(shape.c_out, tile_filters) * _rounded(width, tile_pixels)
            statements = tile_filters * (shape.kernel[1] if whole_rows else 1)
            fits = tile_filters * tile_pixels <= sums and statements <= MOST_STATEMENTS
            if not fits or padded > MOST_PADDED * shape.c_out * width:
                continue
            for count in items:
                tile = Tile(filters=tile_filters, pixels=tile_pixels, work_items=count, whole_rows=whole_rows)
                for texels in _storages(tile, target):
                    yield KernelChoice(lowering=lowering, form=form, tile=replace(tile, texels=texels))


def _storages(tile: Tile, target: Target) -> tuple[bool, ...]:
    """Weights from a buffer, or from texels, too."""
    return (False, True) if reads_texels(target) and tile.filters % TEXEL_VALUES == 0 else (False,)


def _forms(shape: LayerShape, target: Target) -> list[tuple[Lowering, Lowering, bool]]:
    """Lowering, form, whole rows."""
    forms: list[tuple[Lowering, Lowering, bool]] = [("dense", "dense", False)]
    if shape.kernel[1] > 1:
        forms.append(("dense", "dense", True))
    if shape.kind == "conv" and shape.kernel != (1, 1):
        forms.append(("dense", "column", False))
        if has_blocks(shape, target):
            forms.append(("dense", "block", True))
    pruned: list[Lowering] = [name for name in lowering_costs(shape, target) if name != "dense"]
    return [*forms, *((name, name, name == "block") for name in pruned)]


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


def _launch(choice: KernelChoice, shape: LayerShape) -> tuple[str | int, ...]:
    """What is launched: candidates with the same are the same."""
    form, first, second, items = _place(choice)
    tile = choice.tile
    if isinstance(tile, LinearTile):
        return form, first, second, items
    tiles = shape.output_hw[0] * -(-shape.output_hw[1] // tile.pixels)
    items_x = work_group(tiles, tile.work_items)
    rows = -(-shape.c_out // tile.filters)
    return form, first, second, items_x, largest_divisor(rows, max(1, tile.work_items // items_x))


def _place(choice: KernelChoice) -> Place:
    tile = choice.tile
    if isinstance(tile, LinearTile):
        shared = tile.block > tile.vectors * tile.lanes
        return ("by work-group" if shared else "by work-item", tile.vectors, tile.lanes, tile.work_items)
    form = f"{choice.lowering} {choice.form}{' rows' * tile.whole_rows}{' texels' * tile.texels}"
    return (form, tile.filters, tile.pixels, tile.work_items)


def _rounded(count: int, step: int) -> int:
    return -(-count // step) * step
