from dataclasses import replace

import pytest
from act.compiler.schedules.tile import (
    Tile,
    choose_tile,
    depthwise_tile,
    largest_divisor,
    narrow_tile,
    pool_tile,
    work_group,
)
from act.compiler.targets import get_target

HOST, PHONE = get_target("host-opencl"), get_target("adreno640")


def test_a_cpu_gets_as_many_vectors_of_sums_as_its_registers_hold():
    tiles = [choose_tile(filters, (32, 32), 1, HOST) for filters in (6, 16, 64)]
    assert [(tile.filters, tile.pixels, tile.rows) for tile in tiles] == [(6, 8, 2), (6, 8, 2), (6, 8, 2)]
    odd = [choose_tile(filters, (7, 7), 1, HOST) for filters in (13, 16, 64)]
    assert [(tile.filters, tile.pixels, tile.rows) for tile in odd] == [(13, 8, 1), (8, 8, 1), (13, 8, 1)]


def test_a_gpu_gets_float4_and_a_work_item_for_every_lane():
    tile = choose_tile(64, (56, 56), 1, PHONE)
    assert tile.pixels == 4
    small = choose_tile(64, (8, 8), 1, PHONE)
    assert 8 * 8 / small.pixels * 64 / small.filters >= 768


@pytest.mark.parametrize("filters", [1, 5, 11, 23, 33, 100])
@pytest.mark.parametrize("target", [HOST, PHONE], ids=lambda target: target.name)
def test_filters_are_spread_evenly_over_tiles(filters, target):
    tile = choose_tile(filters, (14, 14), 1, target)
    tiles = -(-filters // tile.filters)
    assert tiles * tile.filters - filters < tiles


def test_a_vector_is_no_longer_than_it_pays():
    assert choose_tile(8, (1, 1), 1, HOST).pixels == 1
    assert choose_tile(8, (2, 2), 1, PHONE).pixels <= 2


def test_a_narrow_map_gets_vectors_of_filters_on_a_cpu_alone():
    sizes = [(16, (4, 4)), (16, (2, 2)), (16, (1, 1)), (24, (4, 4)), (25, (4, 4)), (40, (3, 3))]
    tiles = [narrow_tile(filters, hw, HOST) for filters, hw in sizes]
    assert [(tile.filters, tile.pixels) for tile in tiles] == [(16, 4), (16, 4), (16, 1), (8, 8), (16, 4), (8, 3)]
    assert all(tile.along_filters and tile.row_pixels == 1 for tile in tiles)
    assert narrow_tile(16, (8, 8), HOST) is None and narrow_tile(7, (4, 4), HOST) is None
    assert narrow_tile(16, (4, 4), PHONE) is None and narrow_tile(16, (4, 4), get_target("host-vulkan")) is None
    with pytest.raises(ValueError, match="whole vectors"):
        Tile(filters=12, pixels=4, work_items=4, along_filters=True)


def test_pools_of_a_cpu_alone_get_vectors_of_pixels():
    assert [pool_tile((width, width), (2, 2), HOST).pixels for width in (56, 7, 4, 2)] == [8, 8, 4, 2]
    assert pool_tile((1, 1), (1, 1), HOST) is None and pool_tile((56, 56), (3, 3), HOST) is None
    assert all(pool_tile((56, 56), (2, 2), target) is None for target in (PHONE, get_target("host-vulkan")))


def test_divisors_and_work_groups():
    assert [largest_divisor(n, 16) for n in (1, 12, 17, 32, 48)] == [1, 12, 1, 16, 16]
    assert work_group(48, 16) == 16
    assert work_group(17, 16) == 16  # no good divisor: a guard is cheaper
    assert work_group(5, 16) == 5


def test_sizes_of_a_tile_are_positive():
    with pytest.raises(ValueError, match="at least 1"):
        Tile(filters=0, pixels=4, work_items=16)


@pytest.mark.parametrize("target", [HOST, PHONE], ids=lambda target: target.name)
@pytest.mark.parametrize(("filters", "groups"), [(128, 32), (48, 2), (20, 4), (34, 2)])
def test_a_tile_stays_within_a_group(filters, groups, target):
    assert filters // groups % choose_tile(filters, (14, 14), 1, target, groups=groups).filters == 0


def test_lanes_of_a_cpu_want_the_largest_tile():
    host, lanes = (choose_tile(64, (56, 56), 1, get_target(name)) for name in ("host-opencl", "host-vulkan"))
    assert (lanes.filters, lanes.pixels, lanes.work_items, lanes.columns) == (32, 8, 16, 4)
    assert lanes.filters > host.filters
    phone = choose_tile(64, (56, 56), 1, get_target("adreno640"))
    assert choose_tile(64, (56, 56), 1, get_target("adreno640-vulkan")) == replace(phone, texels=False)


@pytest.mark.parametrize(("size", "pixels"), [(4, 2), (2, 1), (7, 8), (8, 8), (32, 8)])
def test_no_more_than_half_of_the_lanes_are_idle_on_small_maps(size, pixels):
    assert choose_tile(512, (size, size), 1, get_target("host-vulkan")).pixels == pixels


def test_texels_are_for_whole_ones_on_a_phone():
    assert choose_tile(64, (56, 56), 1, PHONE).texels
    assert not choose_tile(7, (56, 56), 1, PHONE).texels
    assert not choose_tile(64, (56, 56), 1, HOST).texels
    with pytest.raises(ValueError, match="whole texels"):
        Tile(filters=6, pixels=4, work_items=16, texels=True)


def test_depthwise_tiles_differ_on_lanes_alone():
    tile = Tile(filters=32, pixels=8, work_items=8, columns=4)
    assert depthwise_tile(tile, get_target("host-opencl")) == tile
    assert depthwise_tile(tile, get_target("host-vulkan")) == Tile(filters=4, pixels=8, work_items=8, whole_rows=True)
