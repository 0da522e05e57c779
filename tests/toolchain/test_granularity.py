import subprocess
import sys

import pytest
from act.toolchain.granularity import (
    GRANULARITY_NAMES,
    BlockColumn,
    Channel,
    Column,
    Combined,
    Filter,
    GranularityError,
    Unstructured,
    granularity_from_name,
)


def test_every_name_gives_its_value():
    values = [
        Filter(),
        Channel(),
        Column(),
        BlockColumn(),
        Combined(),
        Combined(columns=BlockColumn()),
        Unstructured(),
    ]
    assert [granularity_from_name(name) for name in GRANULARITY_NAMES] == values
    assert [value.name for value in values] == list(GRANULARITY_NAMES)


def test_what_each_removes():
    assert [name for name in GRANULARITY_NAMES if granularity_from_name(name).filters] == [
        "filter",
        "combined",
        "combined-block",
    ]
    assert Filter().columns is None
    assert Combined().columns == Column()
    assert Combined(columns=BlockColumn(block=8)).columns.channels == 8
    assert Channel().every_position
    assert not BlockColumn().every_position


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(GranularityError, match=r"'colum'.*did you mean 'column'.*unstructured"):
        granularity_from_name("colum")


def test_a_block_of_one_channel_is_refused():
    with pytest.raises(GranularityError, match="at least 2 channels, got 1"):
        BlockColumn(block=1)


def test_names_are_light_to_import():
    code = "import sys, act.toolchain.granularity; print({'torch', 'numpy'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"
