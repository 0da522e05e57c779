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
@pytest.mark.parametrize("target", ["host-opencl", "adreno640"])
@pytest.mark.parametrize("gate", ["Sigmoid", "HardSigmoid"])
def test_squeeze_and_excitation(gate, target, tmp_path):
    nodes = [
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Conv", ["g", "v"], ["h"]),
        helper.make_node(gate, ["h"], ["s"]),
        helper.make_node("Mul", ["c", "s"], ["output"]),
    ]
    network = model(*nodes, v=random(6, 6, 1, 1))
    kinds = [step.kind for step in compile_model(network, tmp_path, target=target).steps]
    assert kinds == ["elementwise", "conv", "pool", "conv", "elementwise"]  # a copy first
    assert verified_error(network, tmp_path, target=target) < 1e-5


def test_elementwise_chains_are_one_kernel(tmp_path):
    nodes = [
        helper.make_node("Sigmoid", ["input"], ["a"]),
        helper.make_node("Mul", ["a", "input"], ["b"]),
        helper.make_node("Tanh", ["b"], ["output"]),
    ]
    assert len(compile_model(model_of(nodes, {}), tmp_path).steps) == 1


RESIZES = [
    {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor"},
    {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
    {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
]


@pytest.mark.opencl
@pytest.mark.parametrize("sizes", [(16, 12), (5, 4)])
def test_resize(sizes, tmp_path):
    nodes = []
    for index, attributes in enumerate(RESIZES):
        nodes.append(helper.make_node("Resize", ["c", "", "", "sizes"], [f"r{index}"], **attributes))
    nodes.append(helper.make_node("Concat", [f"r{index}" for index in range(len(RESIZES))], ["output"], axis=1))
    assert verified_error(model(*nodes, sizes=[1, 6, *sizes]), tmp_path) < 1e-5


ACTIVATIONS = ["HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Erf", "Softplus", "Elu", "Mish", "Selu", "Relu"]


@pytest.mark.opencl
@pytest.mark.parametrize("target", ["host-opencl", "adreno640"])
def test_activations(target, tmp_path):
    """Each joins the convolution before it."""
    nodes, weights = [], {}
    for index, operator in enumerate(ACTIVATIONS):
        weights[f"w{index}"] = random(2, 6, 1, 1, seed=index)
        nodes.append(helper.make_node("Conv", ["c", f"w{index}"], [f"x{index}"]))
        nodes.append(helper.make_node(operator, [f"x{index}"], [f"a{index}"]))
    nodes.append(helper.make_node("Concat", [f"a{index}" for index in range(len(ACTIVATIONS))], ["d"], axis=1))
    nodes.append(helper.make_node("Neg", ["d"], ["output"]))
    network = model(*nodes, **weights)
    kinds = [step.kind for step in compile_model(network, tmp_path, target=target).steps]
    assert kinds.count("conv") == len(ACTIVATIONS) + 1
    assert kinds.count("elementwise") == 2  # the input's copy, the negation
    assert verified_error(network, tmp_path, target=target) < 1e-5


@pytest.mark.opencl
def test_one_map_spread_over_all_channels(tmp_path):
    """Spatial attention."""
    nodes = [
        helper.make_node("Conv", ["c", "v"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["h"], ["s"]),
        helper.make_node("Mul", ["s", "c"], ["output"]),
    ]
    assert verified_error(model(*nodes, v=random(1, 6, 3, 3)), tmp_path) < 1e-5
