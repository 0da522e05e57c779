"""Tiles: how many filters and pixels one work-item computes, and how work-items form work-groups."""

from __future__ import annotations

from dataclasses import dataclass

from ..targets import HostSpec, Target

__all__ = ["Tile", "choose_tile", "is_gpu", "largest_divisor", "work_group"]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Work of one work-item.

    Attributes:
        filters: Output channels per work-item.
        pixels: Neighbouring pixels of a row per work-item, one vector.
        work_items: Work-items per work-group, at most.
    """

    filters: int
    pixels: int
    work_items: int

    def __post_init__(self) -> None:
        if min(self.filters, self.pixels, self.work_items) < 1:
            raise ValueError(f"every size of a tile must be at least 1, got {self}")


def choose_tile(filters: int, output_hw: tuple[int, int], batch: int, target: Target, *, groups: int = 1) -> Tile:
    """The largest register tile that leaves enough work-items to fill the device.

    A CPU device wants wide vectors and few work-items; a GPU wants float4 and a work-item for every lane.

    Args:
        filters: Output channels.
        output_hw: Output height and width.
        batch: Images a run.
        target: What is compiled for.
        groups: Of a grouped convolution: all filters of a tile are of one group, so that they share their input.
    """
    height, width = output_hw
    gpu = is_gpu(target)
    widest, most_filters, enough = (4, 8, 768) if gpu else (8, 16, 4)
    # On a CPU a narrow vector costs as much as a wide one; on a GPU each lane's work counts.
    cost_of_vector = 1 if gpu else 64
    pixels = min((1, 2, 4, 8)[: widest.bit_length()], key=lambda v: (-(-width // v) * (v + cost_of_vector), v))
    while True:
        if groups == 1:
            tile_filters = -(-filters // -(-filters // most_filters))
        else:
            tile_filters = largest_divisor(filters // groups, most_filters)
        work_items = batch * -(-filters // tile_filters) * height * -(-width // pixels)
        if work_items >= enough or (most_filters <= 4 and pixels == 1):
            break
        if most_filters > 4:
            most_filters //= 2
        elif gpu:
            pixels //= 2
        else:
            break
    return Tile(filters=tile_filters, pixels=pixels, work_items=64 if gpu else 16)


def is_gpu(target: Target) -> bool:
    """Whether the target is a GPU; a CPU device wants other tiles."""
    return not isinstance(target.device_spec, HostSpec)


def largest_divisor(count: int, limit: int) -> int:
    """The largest divisor of ``count`` that is at most ``limit``."""
    return next(d for d in range(min(count, limit), 0, -1) if count % d == 0)


def work_group(count: int, limit: int) -> int:
    """Work-items per work-group for ``count`` in a row: a divisor if a good one exists, else ``limit`` with a guard."""
    divisor = largest_divisor(count, limit)
    return divisor if divisor * 4 >= min(count, limit) else min(count, limit)
