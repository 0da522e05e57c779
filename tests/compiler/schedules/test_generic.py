import pytest
from onnx import helper

from ..kernel_check import compile_model, verified_error
from ..onnx_networks import model_of, random

CONV = helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1])
WEIGHTS = {"w": random(6, 3, 3, 3)}


def model(*nodes, **weights):
    return model_of([CONV, *nodes], {**WEIGHTS, **weights})


@pytest.mark.opencl
def test_softmax_becomes_several_kernels(tmp_path):
    network = model(helper.make_node("Softmax", ["c"], ["output"], axis=1))
    assert len({step.name for step in compile_model(network, tmp_path).steps}) >= 4
    assert verified_error(network, tmp_path) < 1e-5


@pytest.mark.opencl
def test_operators_with_two_results(tmp_path):
    nodes = [
        helper.make_node("Split", ["c"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Sigmoid", ["a"], ["s"]),
        helper.make_node("Mul", ["s", "b"], ["p"]),
        helper.make_node("Concat", ["p", "a"], ["output"], axis=1),
    ]
    assert verified_error(model(*nodes), tmp_path, batch=2) < 1e-5


@pytest.mark.opencl
def test_squeeze_and_excitation(tmp_path):
    nodes = [
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Conv", ["g", "v"], ["h"]),
        helper.make_node("Sigmoid", ["h"], ["s"]),
        helper.make_node("Mul", ["c", "s"], ["output"]),
    ]
    assert verified_error(model(*nodes, v=random(6, 6, 1, 1)), tmp_path, target="adreno640") < 1e-5


def test_elementwise_chains_are_one_kernel(tmp_path):
    nodes = [
        helper.make_node("Sigmoid", ["input"], ["a"]),
        helper.make_node("Mul", ["a", "input"], ["b"]),
        helper.make_node("Tanh", ["b"], ["output"]),
    ]
    assert len(compile_model(model_of(nodes, {}), tmp_path).steps) == 1
