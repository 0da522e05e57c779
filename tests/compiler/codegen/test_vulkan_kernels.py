"""Every schedule template and one whole network, compiled to SPIR-V and run on a Vulkan device."""

import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from act.compiler.layer_onnx import write_layer_onnx
from act.device.package_format import read_package
from act.device.runtime.build import build_runner
from onnx import helper

from ..kernel_check import VULKAN_TARGETS, compile_model, verified_error
from ..onnx_networks import column_conv_model, conv_model, model_of, random
from ..schedules.test_conv import CASES
from ..schedules.test_linear import classifier
from ..schedules.test_pool import POOLS

pytestmark = pytest.mark.vulkan

TOLERANCE = 1e-5


@pytest.mark.parametrize("name", CASES)
def test_convolutions(name, tmp_path):
    model = onnx.load(write_layer_onnx(CASES[name], tmp_path / "layer.onnx"))
    target = VULKAN_TARGETS[list(CASES).index(name) % 2]
    assert verified_error(model, tmp_path, target=target) < TOLERANCE


@pytest.mark.parametrize("target", VULKAN_TARGETS)
def test_packed_columns(target, tmp_path):
    assert verified_error(column_conv_model(columns=[0, 4, 9, 13, 26]), tmp_path, target=target) < TOLERANCE


@pytest.mark.parametrize("target", VULKAN_TARGETS)
def test_grouped_depthwise_and_uneven_padding(target, tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "a"], ["x"], pads=[0, 2, 1, 0]),
        helper.make_node("Conv", ["x", "b"], ["y"], group=6, pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Conv", ["y", "c"], ["output"], group=2, pads=[1, 1, 1, 1]),
    ]
    weights = {"a": random(6, 3, 3, 2), "b": random(6, 1, 3, 3), "c": random(8, 3, 3, 3)}
    assert verified_error(model_of(nodes, weights), tmp_path, target=target, batch=2) < TOLERANCE


@pytest.mark.parametrize(("features", "target"), [(10, "adreno640-vulkan"), (64, "host-vulkan"), (45, "host-vulkan")])
def test_linear_layers(features, target, tmp_path):
    assert verified_error(classifier(features), tmp_path, target=target, batch=3) < TOLERANCE


@pytest.mark.parametrize("target", VULKAN_TARGETS)
def test_every_form_of_pooling(target, tmp_path):
    nodes = [helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1])]
    for index, (operator, attributes) in enumerate(POOLS):
        nodes.append(helper.make_node(operator, ["c"], [f"p{index}"], **attributes))
        nodes.append(helper.make_node("Flatten", [f"p{index}"], [f"f{index}"]))
    nodes.append(helper.make_node("Concat", [f"f{index}" for index in range(len(POOLS))], ["output"], axis=1))
    assert verified_error(model_of(nodes, {"w": random(5, 3, 3, 3)}), tmp_path, target=target) < TOLERANCE


ACTIVATIONS = [
    *("Relu", "LeakyRelu", "Elu", "Selu", "Erf", "Tanh", "Sigmoid", "HardSigmoid", "HardSwish", "Softplus", "Mish"),
    *("Exp", "Abs", "Neg"),
]


def test_every_activation(tmp_path):
    nodes = [helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1])]
    for name in ACTIVATIONS:
        # Each is added to what came before, and brought back to a range in which a wrong one is seen.
        nodes.append(helper.make_node(name, ["c"], [name]))
        nodes.append(helper.make_node("GlobalAveragePool", [name], [f"{name}_mean"]))
    nodes.append(helper.make_node("Concat", [f"{name}_mean" for name in ACTIVATIONS], ["output"], axis=1))
    weights = {"w": random(4, 3, 3, 3) * 0.3}
    assert verified_error(model_of(nodes, weights), tmp_path, target="host-vulkan") < TOLERANCE


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_operators_of_several_kernels(operator, tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node(operator, ["c"], ["output"], axis=1),
    ]
    assert verified_error(model_of(nodes, {"w": random(6, 3, 3, 3)}), tmp_path, target="host-vulkan") < TOLERANCE


def test_operators_that_move_elements(tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Split", ["c"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Mul", ["a", "b"], ["p"]),
        helper.make_node("Transpose", ["p"], ["t"], perm=[0, 1, 3, 2]),
        helper.make_node("Pad", ["t", "pads"], ["padded"]),
        helper.make_node("Slice", ["padded", "starts", "ends", "axes", "steps"], ["s"]),
        helper.make_node("Concat", ["s", "s"], ["output"], axis=1),
    ]
    weights = {"w": random(6, 3, 3, 3), "pads": [0, 0, 1, 2, 0, 0, 2, 1], "starts": [1], "ends": [9], "axes": [2]}
    assert verified_error(model_of(nodes, {**weights, "steps": [2]}), tmp_path, target="host-vulkan") < TOLERANCE


@pytest.mark.parametrize("target", VULKAN_TARGETS)
def test_a_residual_network_with_squeeze_and_excitation(target, tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "a", "bias"], ["x"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Conv", ["y", "b", "bias"], ["z"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["z"], ["g"]),
        helper.make_node("Conv", ["g", "v"], ["h"]),
        helper.make_node("Sigmoid", ["h"], ["s"]),
        helper.make_node("Mul", ["z", "s"], ["m"]),
        helper.make_node("Add", ["m", "y"], ["r"]),
        helper.make_node("Relu", ["r"], ["q"]),
        helper.make_node("GlobalAveragePool", ["q"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc", "d"], ["output"], transB=1),
    ]
    weights = {"a": random(8, 3, 3, 3), "b": random(8, 8, 3, 3), "bias": random(8), "v": random(8, 8, 1, 1)}
    model = model_of(nodes, {**weights, "fc": random(10, 8), "d": random(10)})
    assert verified_error(model, tmp_path, target=target) < TOLERANCE


def test_both_backends_have_the_same_steps(tmp_path):
    packages = {}
    for target in ("adreno640", "adreno640-vulkan"):
        verified_error(conv_model(), tmp_path, target="host-vulkan")  # skips where no kernel can be compiled
        packages[target] = read_package(compile_model(conv_model(), tmp_path, target=target).path)
    opencl, vulkan = packages["adreno640"], packages["adreno640-vulkan"]
    assert (opencl.backend, vulkan.backend) == ("opencl", "vulkan")
    sizes = [[step.global_size for step in package.steps] for package in (opencl, vulkan)]
    assert sizes[0] == sizes[1]
    assert [step.arguments for step in opencl.steps] == [step.arguments for step in vulkan.steps]


def test_the_validation_layer_has_nothing_to_say_about_any_template(tmp_path):
    """Dense, column, depthwise, linear and pooling kernels with their halos, timed and profiled."""
    folders = (Path("/usr/share/vulkan/explicit_layer.d"), Path("/etc/vulkan/explicit_layer.d"))
    if not any(path for folder in folders for path in folder.glob("*khronos_validation*")):
        pytest.skip("no validation layer: apt-get install vulkan-validationlayers")
    columns = np.zeros((8, 8, 3, 3), np.float32)
    columns.reshape(8, -1)[:, ::5] = random(8, 15)
    nodes = [
        helper.make_node("Conv", ["input", "a"], ["x"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["x", "columns"], ["y"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["y", "depth"], ["z"], group=8, pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["z", "y"], ["s"]),
        helper.make_node("MaxPool", ["s"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Softmax", ["m"], ["n"], axis=1),
        helper.make_node("GlobalAveragePool", ["n"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc", "d"], ["output"], transB=1),
    ]
    weights = {"a": random(8, 3, 3, 3), "columns": columns, "depth": random(8, 1, 3, 3), "fc": random(10, 8)}
    model = model_of(nodes, {**weights, "d": random(10)})
    assert verified_error(model, tmp_path, target="host-vulkan") < TOLERANCE
    environment = {
        **os.environ,
        "VK_INSTANCE_LAYERS": "VK_LAYER_KHRONOS_validation",
        "VK_LAYER_ENABLES": "VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT",
    }
    command = [str(build_runner()), "time", str(tmp_path / "network.actpkg"), "--runs", "3", "--warmup-ms", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0
    assert "alidation" not in done.stdout + done.stderr
