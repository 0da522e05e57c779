import numpy as np
import onnx
import pytest
from act.compiler.passes.channels_first import move_channels_first
from act.compiler.passes.layer_norm import decompose_layer_norms
from act.compiler.passes.shapes import infer_shapes
from onnx import helper

from . import onnx_networks as networks
from .kernel_check import compile_model, verified_error
from .onnx_networks import model_of, random

IMAGE = random(2, 3, 8, 8, seed=5)
INPUT = [networks.value("input", [2, 3, 8, 8])]


def to_last(source, result):
    return helper.make_node("Transpose", [source], [result], perm=[0, 2, 3, 1])


def to_first(source, result):
    return helper.make_node("Transpose", [source], [result], perm=[0, 3, 1, 2])


def block():
    """A ConvNeXt block: layer norm, two linear layers with an activation, a scale, channels last."""
    nodes = [
        to_last("input", "t"),
        helper.make_node("LayerNormalization", ["t", "gamma", "beta"], ["n"], name="norm", axis=-1, epsilon=1e-6),
        helper.make_node("MatMul", ["n", "w1"], ["m1"], name="linear1"),
        helper.make_node("Add", ["m1", "b1"], ["a1"]),
        helper.make_node("Tanh", ["a1"], ["g"]),
        helper.make_node("MatMul", ["g", "w2"], ["m2"], name="linear2"),
        helper.make_node("Add", ["b2", "m2"], ["a2"]),
        to_first("a2", "f"),
        helper.make_node("Mul", ["f", "scale"], ["s"]),
        helper.make_node("Add", ["s", "input"], ["output"]),
    ]
    weights = {
        "gamma": random(3),
        "beta": random(3, seed=1),
        "w1": random(3, 12),
        "b1": random(12),
        "w2": random(12, 3, seed=2),
        "b2": random(3, seed=3),
        "scale": random(3, 1, 1),
    }
    return model_of(nodes, weights, inputs=INPUT)


def moved(model):
    found = onnx.ModelProto.FromString(model.SerializeToString())
    infer_shapes(found)
    count = move_channels_first(found)
    infer_shapes(found)
    onnx.checker.check_model(found)
    return found, count


def test_a_block_has_no_transposition_left():
    model = block()
    found, count = moved(model)
    assert count == 6
    operators = networks.operators(found)
    assert "Transpose" not in operators
    assert operators.count("Conv") == 2
    assert {"linear1", "linear2"} <= {node.name for node in found.graph.node}
    np.testing.assert_allclose(networks.run(found, IMAGE), networks.run(model, IMAGE), rtol=1e-4, atol=1e-5)


def test_other_operators_read_a_transposed_copy_made_once():
    nodes = [
        to_last("input", "t"),
        helper.make_node("Relu", ["t"], ["r"]),
        helper.make_node("Softmax", ["r"], ["s"], axis=3),
        helper.make_node("ReduceMax", ["r"], ["m"], keepdims=1),
        helper.make_node("Add", ["s", "m"], ["output"]),
    ]
    model = model_of(nodes, {}, inputs=INPUT)
    found, count = moved(model)
    assert count == 1
    assert networks.operators(found).count("Transpose") == 1
    np.testing.assert_allclose(networks.run(found, IMAGE), networks.run(model, IMAGE), rtol=1e-5)


def test_a_result_that_is_channels_last_stays_so():
    model = model_of([to_last("input", "t"), helper.make_node("Relu", ["t"], ["output"])], {}, inputs=INPUT)
    found, _ = moved(model)
    assert networks.run(found, IMAGE).shape == (2, 8, 8, 3)
    cancelled = model_of([to_last("input", "t"), to_first("t", "output")], {}, inputs=INPUT)
    np.testing.assert_array_equal(networks.run(moved(cancelled)[0], IMAGE), IMAGE)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (8, 3), (1, 8, 1, 3), (8, 8, 3)])
def test_constants_of_every_rank_are_permuted(shape):
    nodes = [to_last("input", "t"), helper.make_node("Mul", ["t", "c"], ["m"]), to_first("m", "output")]
    model = model_of(nodes, {"c": random(*shape)}, inputs=INPUT)
    found, count = moved(model)
    assert (count, networks.operators(found)[0]) == (1, "Mul")
    np.testing.assert_allclose(networks.run(found, IMAGE), networks.run(model, IMAGE), rtol=1e-5)


def test_a_network_without_transpositions_is_left_alone():
    model = networks.conv_model()
    before = model.SerializeToString()
    infer_shapes(model)
    assert move_channels_first(model) == 0
    assert networks.operators(model) == networks.operators(onnx.ModelProto.FromString(before))


@pytest.mark.parametrize("axis", [-1, 1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_norms_become_means_and_arithmetic(axis, bias):
    shape = (3, 8, 8)[axis - 1 :] if axis > 0 else (8,)
    inputs = ["input", "gamma", "beta"] if bias else ["input", "gamma"]
    nodes = [helper.make_node("LayerNormalization", inputs, ["output"], axis=axis)]
    model = model_of(nodes, {"gamma": random(*shape), "beta": random(*shape, seed=1)}, inputs=INPUT)
    found = onnx.ModelProto.FromString(model.SerializeToString())
    infer_shapes(found)
    assert decompose_layer_norms(found) == 1
    infer_shapes(found)
    assert "LayerNormalization" not in networks.operators(found)
    np.testing.assert_allclose(networks.run(found, IMAGE), networks.run(model, IMAGE), rtol=1e-3, atol=1e-5)


@pytest.mark.opencl
def test_a_block_runs_on_the_device(tmp_path):
    steps = compile_model(block(), tmp_path, batch=2, target="adreno640").steps
    assert [step.kind for step in steps] == ["elementwise"] * 3 + ["conv"] * 2  # two sums, the rest, two linear layers
    assert verified_error(block(), tmp_path, batch=2, target="adreno640") < 1e-4
