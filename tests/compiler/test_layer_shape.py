"""LayerShape: counts, density, and what it refuses."""

import dataclasses

import pytest
from act.compiler.layer_shape import LayerShape

CONV = LayerShape(
    name="conv",
    kind="conv",
    c_in=16,
    c_out=32,
    kernel=(3, 3),
    stride=(2, 2),
    padding=(1, 1),
    dilation=(1, 1),
    groups=1,
    input_hw=(8, 8),
    output_hw=(4, 4),
    columns=144,
)


def test_dense_conv_counts():
    assert CONV.is_dense
    assert CONV.weight_count == 32 * 16 * 9
    assert CONV.macs == 32 * 16 * 9 * 4 * 4


def test_column_pruned_conv_counts_kept_columns_only():
    pruned = dataclasses.replace(CONV, columns=50)
    assert not pruned.is_dense
    assert pruned.dense_columns == 144
    assert pruned.macs == 32 * 50 * 16


def test_depthwise_has_one_channel_per_filter():
    depthwise = dataclasses.replace(CONV, kind="depthwise", c_out=16, groups=16, columns=9)
    assert depthwise.is_dense
    assert depthwise.macs == 16 * 9 * 16


@pytest.mark.parametrize("kind", ["pool", "elementwise"])
def test_layers_without_weights_count_nothing(kind):
    shape = dataclasses.replace(CONV, kind=kind, c_out=16, groups=16, columns=9)
    assert (shape.weight_count, shape.macs) == (0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "conv3d"}, "unknown kind 'conv3d'"),
        ({"c_out": 0}, "at least 1"),
        ({"output_hw": (0, 4)}, "at least 1"),
        ({"padding": (-1, 0)}, "padding"),
        ({"groups": 3}, "3 groups"),
        ({"columns": 145}, "1..144"),
        ({"columns": 0}, "1..144"),
    ],
)
def test_impossible_shapes_are_refused_by_layer_name(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        dataclasses.replace(CONV, **change)
    assert "'conv'" in str(caught.value)


def test_equal_shapes_are_one_cache_key():
    assert len({CONV, dataclasses.replace(CONV)}) == 1
