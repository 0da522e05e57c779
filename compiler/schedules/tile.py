"""Tiles: how many filters and pixels one work-item computes, and how work-items form work-groups."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..images import TEXEL_VALUES
from ..targets import HostSpec, Target

__all__ = [
    "FILTER_LANES",
    "Tile",
    "TileRule",
    "choose_tile",
    "depthwise_tile",
    "has_lanes",
    "is_gpu",
    "largest_divisor",
    "narrow_tile",
    "pool_tile",
    "reads_texels",
    "row_vector",
    "tile_rule",
    "work_group",
]

DEPTHWISE_FILTERS = 4
FILTER_LANES = 8
"""Neighbouring filters in a vector, where vectors hold filters."""
POOL_WORK_ITEMS = 16
MOST_POOL_STRIDE = 2
# Of a register in lavapipe; they run along the first axis of a work-group.
LANES = 8


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Work of one work-item.

    Attributes:
        filters: Output channels per work-item.
        pixels: Neighbouring pixels of a row per work-item, one vector; with ``along_filters``, those of whole rows.
        work_items: Work-items per work-group, at most.
        rows: Rows of such vectors, one below the other, per work-item; with ``along_filters`` they are in ``pixels``.
        whole_rows: Whether a row of the kernel is written out, so that pixels that its positions share are loaded once.
        columns: Columns whose products are added to a sum before it is stored.
        texels: Whether weights are read from an image, four filters at a time (OpenCL alone).
        along_filters: Whether vectors hold `FILTER_LANES` filters of a pixel, in place of pixels of a filter.
    """

    filters: int
    pixels: int
    work_items: int
    rows: int = 1
    whole_rows: bool = False
    columns: int = 1
    texels: bool = False
    along_filters: bool = False

    def __post_init__(self) -> None:
        if min(self.filters, self.pixels, self.work_items, self.rows, self.columns) < 1:
            raise ValueError(f"every size of a tile must be at least 1, got {self}")
        if self.texels and self.filters % TEXEL_VALUES:
            raise ValueError(f"a texel holds {TEXEL_VALUES} filters, a tile of them whole texels; got {self}")
        if self.along_filters and self.filters % FILTER_LANES:
            raise ValueError(f"a vector holds {FILTER_LANES} filters, a tile of them whole vectors; got {self}")

    @property
    def row_pixels(self) -> int:
        """Pixels of a row that are computed and stored as one vector."""
        return 1 if self.along_filters else self.pixels


@dataclass(frozen=True, kw_only=True)
class TileRule:
    """What a kind of device wants: limits of a tile, work-items that fill it, and what a vector costs beside lanes."""

    pixels: int
    filters: int
    sums: int
    enough: int
    work_items: int
    vector_cost: int
    columns: int = 1


# On a CPU a narrow vector costs as much as a wide one; on a GPU each lane counts.
_GPU = TileRule(pixels=4, filters=8, sums=32, enough=768, work_items=64, vector_cost=1)
# AVX2 has 16 registers: 13 hold sums, so that pixels and a weight fit beside them. Small groups share out evenly.
_CPU = TileRule(pixels=8, filters=13, sums=104, enough=4, work_items=4, vector_cost=64)
# With two rows of pixels, six weights serve twelve vectors of sums: eight loads for twelve multiply-adds.
_CPU_ROWS = 2
_CPU_ROWS_FILTERS = 6
_CPU_LANES = TileRule(pixels=8, filters=64, sums=256, enough=16, work_items=16, vector_cost=64, columns=4)


def tile_rule(target: Target) -> TileRule:
    """The rule by which `choose_tile` works on a target; the latency model counts work-items by it."""
    if is_gpu(target):
        return _GPU
    return _CPU_LANES if has_lanes(target) else _CPU


def row_vector(width: int, rule: TileRule) -> int:
    """Pixels of the vector that covers a row at the least cost, where work-items abound."""
    return min((1, 2, 4, 8)[: rule.pixels.bit_length()], key=lambda v: (-(-width // v) * (v + rule.vector_cost), v))


def choose_tile(filters: int, output_hw: tuple[int, int], batch: int, target: Target, *, groups: int = 1) -> Tile:
    """The largest register tile that leaves enough work-items to fill the device.

    A CPU device wants wide vectors and few work-items; a GPU wants float4 and a work-item for every lane. A Vulkan
    device on a CPU (lavapipe) runs eight work-items in the lanes of a register: it wants few loads for many
    multiply-adds, which is a large tile. Its sums lie in memory, and in a loop it masks each store to them: several
    columns at once make fewer stores. On a small map it prefers narrow vectors to lanes that are idle.

    Args:
        filters: Output channels.
        output_hw: Output height and width.
        batch: Images a run.
        target: What is compiled for.
        groups: Of a grouped convolution: all filters of a tile are of one group, so that they share their input.
    """
    height, width = output_hw
    gpu, rule = is_gpu(target), tile_rule(target)
    pixels, rows = row_vector(width, rule), 1
    if has_lanes(target):
        while pixels > 1 and height * -(-width // pixels) * 2 <= LANES:
            pixels //= 2
    most_filters = min(rule.filters, rule.sums // pixels)
    if rule == _CPU and pixels == rule.pixels and height % _CPU_ROWS == 0:
        rows, most_filters = _CPU_ROWS, _CPU_ROWS_FILTERS
    while True:
        if groups == 1:
            tile_filters = -(-filters // -(-filters // most_filters))
        else:
            tile_filters = largest_divisor(filters // groups, most_filters)
        work_items = batch * -(-filters // tile_filters) * height // rows * -(-width // pixels)
        if work_items >= rule.enough or (most_filters <= 4 and pixels == 1):
            break
        if most_filters > 4:
            most_filters //= 2
        elif gpu:
            pixels //= 2
        else:
            break
    texels = reads_texels(target) and tile_filters % TEXEL_VALUES == 0
    return Tile(
        filters=tile_filters,
        pixels=pixels,
        work_items=rule.work_items,
        rows=rows,
        columns=rule.columns,
        texels=texels,
    )


def narrow_tile(filters: int, output_hw: tuple[int, int], target: Target) -> Tile | None:
    """The tile for a map narrower than a vector of a CPU, with vectors along the filters; None where they do not pay.

    The kernel is that of an explicit GEMM whose columns are read in place: 16 filters by four pixels, or 8 by eight
    where half of the last 16 would be padding.
    """
    height, width = output_hw
    if is_gpu(target) or has_lanes(target) or row_vector(width, _CPU) == _CPU.pixels or filters < FILTER_LANES:
        return None
    vectors = 2 if -filters % (2 * FILTER_LANES) < FILTER_LANES else 1
    rows = largest_divisor(height, max(1, FILTER_LANES // vectors // width))
    return Tile(filters=vectors * FILTER_LANES, pixels=rows * width, work_items=_CPU.work_items, along_filters=True)


def depthwise_tile(tile: Tile, target: Target) -> Tile:
    """The tile of a depthwise convolution, whose filters share no pixel: on lanes, few filters and whole rows."""
    if not has_lanes(target):
        return tile
    return replace(tile, filters=min(tile.filters, DEPTHWISE_FILTERS), whole_rows=True, columns=1)


def pool_tile(output_hw: tuple[int, int], stride: tuple[int, int], target: Target) -> Tile | None:
    """The tile of a pooling layer on a CPU: a vector of pixels; None where an element per work-item is right.

    Windows further than two apart are not loaded as vectors, and those behind a row's end might lie far behind it.
    """
    pixels = row_vector(output_hw[1], _CPU)
    if is_gpu(target) or has_lanes(target) or pixels == 1 or stride[1] > MOST_POOL_STRIDE:
        return None
    return Tile(filters=1, pixels=pixels, work_items=POOL_WORK_ITEMS)


def is_gpu(target: Target) -> bool:
    """Whether the target is a GPU; a CPU device wants other tiles."""
    return not isinstance(target.device_spec, HostSpec)


def reads_texels(target: Target) -> bool:
    """Whether weights come from images: a phone's GPU caches those apart, and reads four values at once."""
    return target.max_image_size > 0


def has_lanes(target: Target) -> bool:
    """Whether work-items are the lanes of a CPU's registers: a Vulkan device on a CPU."""
    return target.backend == "vulkan" and not is_gpu(target)


def largest_divisor(count: int, limit: int) -> int:
    """The largest divisor of ``count`` that is at most ``limit``."""
    return next(d for d in range(min(count, limit), 0, -1) if count % d == 0)


def work_group(count: int, limit: int) -> int:
    """Work-items per work-group for ``count`` in a row: a divisor if a good one exists, else ``limit`` with a guard."""
    divisor = largest_divisor(count, limit)
    return divisor if divisor * 4 >= min(count, limit) else min(count, limit)
