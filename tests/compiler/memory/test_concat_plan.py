"""Concatenations are written by the kernels of their inputs; slices of channels lie in what they cut."""

import pytest
from act.device.harness import measure
from onnx import helper

from ..kernel_check import TARGETS, compile_model, local_device
from ..onnx_networks import model_of, random
from ..random_networks import concat, conv, cut, random_network, relu


def compiled_right(model, folder, **options):
    """The compiled package, which equals onnxruntime on the device."""
    compiled = compile_model(model, folder, **options)
    assert measure(compiled.path, local_device(), runs=1, warmup=0, profile_runs=0).verified_error < 1e-5
    return compiled


def copies(compiled):
    """Reasons of all copies but the one of the input, which has no halo."""
    found = [step.reason for step in compiled.steps if step.source_op == "copy"]
    return [reason for reason in found if reason != "the input has no halo for a convolution"]


def inception(tail):
    nodes = [
        conv("input", "stem", "s", pads=[1] * 4),
        conv("stem", "a", "one"),
        conv("stem", "b0", "one"),
        conv("b0", "b", "three", pads=[1] * 4),
        helper.make_node("MaxPool", ["stem"], ["c"], kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4),
        concat("cat", "a", "b", "c"),
        *tail,
    ]
    weights = {"s": random(6, 3, 3, 3), "one": random(5, 6, 1, 1), "three": random(7, 5, 3, 3)}
    return model_of(nodes, {**weights, "v": random(4, 18, 3, 3)})


@pytest.mark.opencl
@pytest.mark.parametrize(("target", "batch"), [("host-opencl", 1), ("adreno640", 2)])
def test_branches_write_into_the_concatenation(target, batch, tmp_path):
    model = inception([conv("cat", "d", "v", pads=[1] * 4), relu("d", "output")])
    assert copies(compiled_right(model, tmp_path, target=target, batch=batch)) == []


@pytest.mark.opencl
def test_each_layer_of_a_dense_block_reads_all_features_so_far(tmp_path):
    nodes, weights, features = [conv("input", "f0", "w0", pads=[1] * 4)], {"w0": random(4, 3, 3, 3)}, ["f0"]
    for index in range(1, 4):
        weights |= {f"scale{index}": random(4 * index, 1, 1), f"w{index}": random(4, 4 * index, 3, 3)}
        if len(features) > 1:
            nodes.append(concat(f"c{index}", *features))
        source = f"c{index}" if len(features) > 1 else "f0"
        nodes.append(helper.make_node("Mul", [source, f"scale{index}"], [f"m{index}"]))
        nodes.append(relu(f"m{index}", f"r{index}"))
        nodes.append(conv(f"r{index}", f"f{index}", f"w{index}", pads=[1] * 4))
        features.append(f"f{index}")
    nodes += [concat("all", *features), relu("all", "output")]
    model = model_of(nodes, weights)
    assert copies(compiled_right(model, tmp_path)) == []


@pytest.mark.opencl
def test_what_cannot_be_written_in_place_is_copied_with_the_reason(tmp_path):
    nodes = [
        conv("input", "a", "s", pads=[1] * 4),
        conv("a", "b", "w", pads=[1] * 4),
        concat("first", "a", "b"),
        relu("first", "r"),
        concat("second", "r", "r", "input", "constant"),
        relu("second", "output"),
    ]
    weights = {"s": random(6, 3, 3, 3), "w": random(6, 6, 3, 3), "constant": random(1, 2, 8, 8)}
    model = model_of(nodes, weights)
    reasons = " / ".join(copies(compiled_right(model, tmp_path)))
    for reason in (
        "it lies in another concatenation already",
        "it is the network's input",
        "it is a constant",
        "a kernel would read and write the same memory",
    ):
        assert reason in reasons


@pytest.mark.opencl
def test_a_concatenation_inside_another_and_one_that_is_the_output(tmp_path):
    nodes = [
        conv("input", "a", "s"),
        conv("input", "b", "s"),
        conv("input", "c", "t"),
        concat("inner", "a", "b"),
        concat("outer", "c", "inner"),
        relu("outer", "d"),
        concat("output", "d", "c"),
    ]
    model = model_of(nodes, {"s": random(4, 3, 3, 3), "t": random(3, 3, 3, 3)})
    compiled = compiled_right(model, tmp_path, target="adreno640")
    assert set(copies(compiled)) == {"concatenation: the network's output has rows of its own"}


@pytest.mark.opencl
@pytest.mark.parametrize("axis", [0, 2, -1])
def test_other_axes_are_kernels(axis, tmp_path):
    nodes = [conv("input", "a", "s"), relu("a", "b"), concat("c", "a", "b", axis=axis), relu("c", "output")]
    compiled_right(model_of(nodes, {"s": random(4, 3, 3, 3)}), tmp_path)


@pytest.mark.opencl
@pytest.mark.parametrize("target", TARGETS)
def test_slices_and_splits_of_channels_cost_no_kernel(target, tmp_path):
    first, bounds = cut("a", "x", 2, 6)
    nodes = [
        conv("input", "a", "s", pads=[1] * 4),
        first,
        conv("x", "b", "w", pads=[1] * 4),
        helper.make_node("Split", ["b"], ["p", "q"], axis=1, num_outputs=2),
        conv("q", "r", "v", pads=[1] * 4),
        concat("output", "p", "r"),
    ]
    weights = {"s": random(8, 3, 3, 3), "w": random(6, 4, 3, 3), "v": random(3, 3, 3, 3), **bounds}
    model = model_of(nodes, weights)
    kinds = [step.kind for step in compiled_right(model, tmp_path, target=target, batch=2).steps]
    assert kinds.count("conv") == 3
    assert len(kinds) == 6  # the input's copy, three convolutions, two copies to the output


@pytest.mark.opencl
def test_a_part_of_the_input_is_copied_and_odd_channels_are_gathered(tmp_path):
    first, bounds = cut("input", "x", 1, 3)
    second, others = cut("a", "y", 0, 6, 2)
    nodes = [
        first,
        conv("x", "a", "s", pads=[1] * 4),
        second,
        conv("y", "output", "w", pads=[1] * 4),
    ]
    model = model_of(nodes, {"s": random(6, 2, 3, 3), "w": random(2, 3, 3, 3), **bounds, **others})
    assert "a slice of the input, which has no halo" in copies(compiled_right(model, tmp_path))


@pytest.mark.opencl
def test_features_are_joined_in_place_too(tmp_path):
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "a"], ["x"]),
        helper.make_node("Gemm", ["f", "b"], ["y"]),
        concat("output", "x", "y"),
    ]
    model = model_of(nodes, {"a": random(3, 5), "b": random(3, 9)})
    assert copies(compiled_right(model, tmp_path, batch=3)) == []


@pytest.mark.opencl
def test_parts_of_a_reshaped_value_have_its_own_shape(tmp_path):
    first, bounds = cut("f", "x", 32, 96)
    nodes = [
        helper.make_node("Relu", ["input"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        first,
        helper.make_node("Neg", ["x"], ["y"]),
        helper.make_node("Flatten", ["r"], ["g"]),
        concat("output", "y", "g", "x"),
    ]
    compiled_right(model_of(nodes, bounds), tmp_path, batch=2)


@pytest.mark.opencl
def test_a_random_network(tmp_path):
    """More of them run under oclgrind."""
    compiled_right(random_network(0), tmp_path, batch=2)
