"""Which kernels of a layer are candidates, and which are alike."""

from dataclasses import replace

import pytest
from act.compiler.kernel_choice import decide
from act.compiler.schedules.tile import Tile
from act.compiler.targets import get_target
from act.compiler.tuning.space import Space

from .layers import COLUMNS, CONV, DEPTHWISE, GROUPED, LINEAR, POINT

LAYERS = [CONV, COLUMNS, DEPTHWISE, GROUPED, POINT, LINEAR]
TARGETS = ["host-opencl", "host-vulkan", "adreno640"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", LAYERS, ids=["conv", "columns", "depthwise", "grouped", "1x1", "linear"])
def test_the_rules_kernel_is_the_first_and_none_is_there_twice(shape, target):
    space = Space(shape, 1, get_target(target))
    assert space.candidates[0] == space.rule == decide(shape, 1, get_target(target)).kernel
    assert len(set(space.candidates)) == len(space.candidates) > 5
    near = space.neighbours(space.rule)
    assert space.rule not in near
    assert 2 < len(near) == len(set(near)) < len(space.candidates)


def test_nearly_every_candidate_is_reached_from_the_rules():
    """The rest are what a search draws at random for."""
    space = Space(COLUMNS, 1, get_target("host-opencl"))
    reached, edge = {space.rule}, [space.rule]
    while edge:
        new = set(space.neighbours(edge.pop())) - reached
        reached |= new
        edge += new
    assert len(reached) > 0.9 * len(space.candidates)
    assert len({space.by_place[place] for place in space.by_place}) == len(space.candidates)


def test_columns_are_packed_only_where_some_are_zero():
    lowerings = {shape: {c.lowering for c in Space(shape, 1, get_target("adreno640")).candidates} for shape in LAYERS}
    assert lowerings[COLUMNS] == {"dense", "channel", "column", "block"}
    assert all(found == {"dense"} for shape, found in lowerings.items() if shape != COLUMNS)
    assert all(
        c.form == "column" for c in Space(COLUMNS, 1, get_target("adreno640")).candidates if c.lowering == "column"
    )
    assert all(c.form == "dense" for c in Space(POINT, 1, get_target("host-opencl")).candidates)


def test_tiles_keep_to_groups_registers_and_the_targets_work_groups():
    for choice in Space(GROUPED, 1, get_target("host-opencl")).candidates:
        assert 4 % choice.tile.filters == 0
    small = replace(get_target("adreno640"), max_work_group_size=16)
    wide = replace(CONV, c_out=256, output_hw=(32, 32), input_hw=(32, 32))
    phone = [c.tile for c in Space(wide, 1, small).candidates]
    assert max(tile.filters * tile.pixels for tile in phone) <= 64
    assert max(tile.work_items for tile in phone if isinstance(tile, Tile)) <= 64  # the rule's own
    assert sum(tile.work_items > 16 for tile in phone) <= 1


def test_a_choice_of_another_layer_is_no_candidate():
    other = Space(replace(CONV, c_out=10), 1, get_target("host-opencl")).rule
    assert other not in Space(CONV, 1, get_target("host-opencl"))


def test_narrow_maps_are_tried_with_vectors_of_filters_and_of_pixels():
    narrow = replace(CONV, c_out=20, input_hw=(4, 4), output_hw=(4, 4))
    space = Space(narrow, 1, get_target("host-opencl"))
    tiles = [c.tile for c in space.candidates if isinstance(c.tile, Tile)]
    assert space.rule.tile.along_filters
    assert {(t.filters, t.pixels) for t in tiles if t.along_filters} == {(8, 4), (8, 8), (8, 16), (24, 4)}
    assert any(not t.along_filters and t.pixels == 4 for t in tiles)
    assert not any(t.along_filters for c in Space(narrow, 1, get_target("adreno640")).candidates for t in [c.tile])
