import dataclasses

import numpy as np
import onnx
import pytest
from act.compiler.layer_onnx import write_layer_onnx
from act.compiler.layer_shape import LayerShape
from act.compiler.memory.layout import Layout
from act.compiler.schedules.conv import ConvTask, column_offsets, pack_weight, split_columns, whole_columns
from act.compiler.schedules.tile import Tile
from onnx import helper
from tvm import s_tir, te

from ..kernel_check import TARGETS, compile_model, verified_error
from ..onnx_networks import model_of, random


def shape(c_in=3, c_out=5, hw=9, kernel=3, stride=1, dilation=1, columns=None, read_channels=None, blocks=None):
    padding = kernel // 2 * dilation
    output = (hw + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    return LayerShape(
        name="layer",
        kind="conv",
        c_in=c_in,
        c_out=c_out,
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=(padding, padding),
        dilation=(dilation, dilation),
        groups=1,
        input_hw=(hw, hw),
        output_hw=(output, output),
        columns=columns or c_in * kernel * kernel,
        read_channels=read_channels,
        blocks=blocks,
    )


def task(filters, layer):
    return ConvTask(shape=layer, tile=Tile(filters=filters, pixels=4, work_items=16), padding=layer.padding, batch=1)


def test_packed_weights_hold_each_tile_side_by_side():
    matrix = np.arange(10, dtype=np.float32).reshape(5, 2)
    packed = pack_weight(matrix, task(2, shape(c_out=5)))
    assert packed.shape == (3, 2, 2)
    assert packed[1].tolist() == [[4, 6], [5, 7]]
    assert packed[2].tolist() == [[8, 0], [9, 0]]  # the sixth filter does not exist


@pytest.mark.parametrize(("columns", "kept", "expected"), [(4, 5, 8), (4, 8, 8), (1, 5, 5), (4, 1, 4)])
def test_columns_are_rounded_up_to_those_of_a_tile(columns, kept, expected):
    """What is added has no weight, and reads what the last column reads: nothing beyond the input."""
    tile = Tile(filters=2, pixels=4, work_items=16, columns=columns)
    given = np.ones((3, kept), np.float32), np.arange(kept, dtype=np.int32) * 7
    matrix, offsets = whole_columns(*given, dataclasses.replace(task(2, shape()), tile=tile))
    assert matrix.shape == (3, expected)
    assert offsets.shape == (expected,)
    assert matrix[:, :kept].tolist() == given[0].tolist()
    assert not matrix[:, kept:].any()
    assert offsets.tolist() == [*given[1].tolist(), *[given[1][-1]] * (expected - kept)]


@pytest.mark.parametrize("dilation", [1, 2])
def test_column_offsets_address_the_padded_input(dilation):
    layer = shape(c_in=2, hw=5, dilation=dilation)
    layout = Layout(shape=(1, 2, 5, 5), halo=layer.padding)
    columns = np.arange(18, dtype=np.int32)
    memory = np.zeros(layout.elements, np.float32)
    image = random(1, 2, 5, 5)
    view = np.lib.stride_tricks.as_strided(memory[layout.lead :], image.shape, [4 * s for s in layout.strides])
    view[...] = image
    padded = np.pad(image[0], ((0, 0), layer.padding, layer.padding))
    for column, offset in zip(columns, column_offsets(columns, task(1, layer), layout.strides), strict=True):
        c, y, x = column // 9, column % 9 // 3 * dilation, column % 3 * dilation
        for row in range(5):
            start = layout.lead + offset + row * layout.pitch
            assert memory[start : start + 5].tolist() == padded[c, y + row, x : x + 5].tolist()


def compile_onnx_layer(layer, folder, target):
    model = onnx.load(write_layer_onnx(layer, folder / "layer.onnx"))
    steps = compile_model(model, folder, target=target).steps
    return next(step for step in steps if step.kind == "conv")


CASES = {
    "small map": shape(c_in=8, c_out=16, hw=1),
    "row below a vector": shape(c_in=4, c_out=11, hw=7),
    "row with a rest": shape(c_in=4, c_out=20, hw=13),
    "stride": shape(c_in=4, c_out=9, hw=15, stride=2),
    "dilation": shape(hw=10, dilation=2),
    "large kernel": shape(hw=11, kernel=7, stride=2),
    "one by one": shape(c_in=12, c_out=7, hw=9, kernel=1),
    "one by one, a few channels more": shape(c_in=13, c_out=7, hw=9, kernel=1),
    "columns": shape(c_in=8, c_out=12, hw=14, columns=20),
    "columns, stride": shape(c_in=8, c_out=12, hw=15, stride=2, columns=20),
    "blocks": shape(c_in=16, c_out=12, hw=14, columns=60, blocks=15),
    "blocks, not quite full": shape(c_in=16, c_out=12, hw=14, columns=55, blocks=15),
    "blocks, stride": shape(c_in=16, c_out=12, hw=15, stride=2, columns=40, blocks=10),
    "blocks, dilation": shape(c_in=8, c_out=5, hw=10, dilation=2, columns=20, blocks=5),
    "blocks, one by one": shape(c_in=16, c_out=9, hw=7, kernel=1, columns=8, blocks=2),
    "channels": shape(c_in=24, c_out=12, hw=14, columns=50, read_channels=6),
    "channels, stride": shape(c_in=24, c_out=12, hw=15, stride=2, columns=50, read_channels=6),
    "channels, dilation": shape(c_in=24, c_out=5, hw=10, dilation=2, columns=50, read_channels=6),
}
LOWERINGS = {"columns": "column", "blocks": "block", "channels": "channel"}


@pytest.mark.opencl
@pytest.mark.parametrize("name", CASES)
def test_kernels_compute_what_onnxruntime_does(name, tmp_path):
    model = onnx.load(write_layer_onnx(CASES[name], tmp_path / "layer.onnx"))
    target = TARGETS[list(CASES).index(name) % 2]
    assert verified_error(model, tmp_path, target=target) < 1e-5


NARROW = {
    "rows of four": shape(c_in=8, c_out=16, hw=4),
    "missing filters": shape(c_in=8, c_out=27, hw=4),
    "one vector of filters": shape(c_in=8, c_out=8, hw=4),
    "rows of two": shape(c_in=8, c_out=37, hw=2),
    "rows of three": shape(c_in=8, c_out=17, hw=3),
    "one pixel": shape(c_in=8, c_out=19, hw=1, kernel=1),
    "stride": shape(c_in=8, c_out=20, hw=8, stride=2),
    "columns": shape(c_in=8, c_out=21, hw=4, columns=23),
    "few channels": shape(c_in=3, c_out=12, hw=4),
}


@pytest.mark.opencl
@pytest.mark.parametrize("name", NARROW)
def test_maps_narrower_than_a_vector_get_vectors_of_filters(name, tmp_path):
    model = onnx.load(write_layer_onnx(NARROW[name], tmp_path / "layer.onnx"))
    assert verified_error(model, tmp_path, batch=3) < 1e-5
    assert "vectors of filters" in compile_onnx_layer(NARROW[name], tmp_path, "host-opencl").tile


@pytest.mark.opencl
def test_vectors_of_filters_with_residual_and_half_floats(tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "a", "bias"], ["x"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Conv", ["y", "b", "bias"], ["z"], pads=[1] * 4),
        helper.make_node("Add", ["z", "y"], ["s"]),
        helper.make_node("Clip", ["s", "low", "high"], ["output"]),
    ]
    weights = {"a": random(13, 3, 3, 3), "b": random(13, 13, 3, 3), "bias": random(13)}
    model = model_of(nodes, {**weights, "low": np.float32(0), "high": np.float32(6)})
    assert verified_error(model, tmp_path, batch=2) < 1e-5
    assert verified_error(model, tmp_path, precision="fp16") < 2e-2


@pytest.mark.vulkan
@pytest.mark.parametrize("name", CASES)
def test_several_columns_at_once_give_the_same(name, tmp_path):
    """As in the lanes of a CPU: whatever their number is, of a table or of loops."""
    model = onnx.load(write_layer_onnx(CASES[name], tmp_path / "layer.onnx"))
    assert verified_error(model, tmp_path, target="host-vulkan") < 1e-5
    assert "4 columns at once" in compile_onnx_layer(CASES[name], tmp_path, "host-vulkan").tile


@pytest.mark.parametrize(
    ("loops", "count", "expected"),
    [((64, 1, 1), 4, 4), ((16, 3, 3), 4, 3), ((2, 5, 7), 4, 7), ((144,), 4, 4), ((10,), 4, 2), ((7, 1), 1, None)],
)
def test_a_sum_takes_the_columns_of_the_innermost_loop(loops, count, expected):
    """A sum that is written out for each column of a step, not stored between: statements that follow each other."""
    x = te.placeholder((8, *loops), "float32", name="x")
    axes = [te.reduce_axis((0, extent)) for extent in loops]
    schedule = s_tir.Schedule(te.create_prim_func([x, te.compute((8,), lambda i: te.sum(x[(i, *axes)], axis=axes))]))
    _, *reduction = schedule.get_loops(schedule.get_child_blocks(schedule.get_sblock("root"))[0])
    outer, inner = split_columns(schedule, reduction, count)
    assert [int(schedule.get(loop).extent) for loop in inner] == ([expected] if expected else [])
    assert np.prod([int(schedule.get(loop).extent) for loop in (*outer, *inner)]) == np.prod(loops)


@pytest.mark.parametrize("name", [name for name in CASES if name.partition(",")[0] in LOWERINGS])
def test_the_lowering_follows_from_the_columns(name, tmp_path):
    step = compile_onnx_layer(CASES[name], tmp_path, "adreno640")
    assert step.lowering == LOWERINGS[name.partition(",")[0]]
    assert f"{step.lowering} " in step.reason


@pytest.mark.opencl
@pytest.mark.parametrize("target", TARGETS)
def test_grouped_depthwise_and_uneven_padding(target, tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "a"], ["x"], pads=[0, 2, 1, 0]),
        helper.make_node("Conv", ["x", "b"], ["y"], group=6, pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Conv", ["y", "c"], ["output"], group=2, pads=[1, 1, 1, 1]),
    ]
    weights = {"a": random(6, 3, 3, 2), "b": random(6, 1, 3, 3), "c": random(8, 3, 3, 3)}
    assert verified_error(model_of(nodes, weights), tmp_path, target=target, batch=2) < 1e-5


@pytest.mark.opencl
def test_bias_residual_and_activation_are_one_kernel(tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "a", "bias"], ["x"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Conv", ["y", "b", "bias"], ["z"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["z", "y"], ["s"]),
        helper.make_node("Relu", ["s"], ["output"]),
    ]
    model = model_of(nodes, {"a": random(4, 3, 3, 3), "b": random(4, 4, 3, 3), "bias": random(4)})
    kinds = [step.kind for step in compile_model(model, tmp_path).steps]
    assert kinds.count("conv") == 2
    assert len(kinds) == 3  # the input's copy, two convolutions
    assert verified_error(model, tmp_path) < 1e-5


@pytest.mark.opencl
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("groups", "c_out"), [(2, 6), (3, 12), (2, 34)])
def test_grouped_convolutions(groups, c_out, target, tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "a"], ["x"], pads=[1] * 4),
        helper.make_node("Conv", ["x", "b", "bias"], ["y"], group=groups, pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("Conv", ["z", "c"], ["output"], group=2),
    ]
    weights = {
        "a": random(12, 3, 3, 3),
        "b": random(c_out, 12 // groups, 3, 3),
        "bias": random(c_out),
        "c": random(8, c_out // 2, 1, 1),
    }
    assert verified_error(model_of(nodes, weights), tmp_path, target=target, batch=2) < 1e-5
