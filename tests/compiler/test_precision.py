"""fp16 storage: every schedule template and a whole network against onnxruntime in fp32, and what is refused."""

import numpy as np
import onnx
import pytest
from act.compiler.compile import compile_onnx
from act.compiler.errors import CompileError
from act.compiler.layer_onnx import write_layer_onnx
from act.compiler.passes.half_range import require_half_range
from act.compiler.targets import TargetError, get_target
from act.device.database import kernel_key
from act.device.devices import CandidateError
from act.device.harness import measure, run_inputs
from act.device.package_format import read_package
from act.device.precision import TOLERANCES
from onnx import helper

from . import onnx_networks as networks
from .kernel_check import TARGETS, VULKAN_TARGETS, compile_model, local_device, verified_error
from .onnx_networks import model_of, random
from .schedules.test_conv import CASES
from .schedules.test_linear import classifier
from .schedules.test_pool import POOLS
from .test_compile import residual_network


def half_error(model, folder, **options):
    return verified_error(model, folder, precision="fp16", **options)


@pytest.mark.opencl
@pytest.mark.parametrize("target", [*TARGETS, *VULKAN_TARGETS])
def test_a_whole_network_is_close_to_onnxruntime(target, tmp_path):
    error = half_error(residual_network(zero=0.7), tmp_path, target=target)
    assert 1e-6 < error < TOLERANCES["fp16"]  # it did round


@pytest.mark.opencl
@pytest.mark.parametrize("name", ["row with a rest", "large kernel", "one by one", "columns", "columns, stride"])
def test_convolutions(name, tmp_path):
    model = onnx.load(write_layer_onnx(CASES[name], tmp_path / "layer.onnx"))
    assert half_error(model, tmp_path, target=TARGETS[list(CASES).index(name) % 2]) < 2e-3


@pytest.mark.opencl
def test_grouped_and_depthwise_convolutions(tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "a"], ["x"], pads=[0, 2, 1, 0]),
        helper.make_node("Conv", ["x", "b"], ["y"], group=6, pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Conv", ["y", "c"], ["output"], group=2, pads=[1, 1, 1, 1]),
    ]
    weights = {"a": random(6, 3, 3, 2), "b": random(6, 1, 3, 3), "c": random(8, 3, 3, 3)}
    assert half_error(model_of(nodes, weights), tmp_path, target="adreno640", batch=2) < 2e-3


@pytest.mark.opencl
def test_linear_layers(tmp_path):
    assert half_error(classifier(45), tmp_path, batch=3) < 2e-3


@pytest.mark.opencl
def test_pooling(tmp_path):
    nodes = [helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1])]
    for index, (operator, attributes) in enumerate(POOLS):
        nodes.append(helper.make_node(operator, ["c"], [f"p{index}"], **attributes))
        nodes.append(helper.make_node("Flatten", [f"p{index}"], [f"f{index}"]))
    nodes.append(helper.make_node("Concat", [f"f{index}" for index in range(len(POOLS))], ["output"], axis=1))
    assert half_error(model_of(nodes, {"w": random(5, 3, 3, 3)}), tmp_path) < 2e-3


@pytest.mark.opencl
def test_operators_of_the_generic_schedule(tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Split", ["c"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Softmax", ["a"], ["s"], axis=1),
        helper.make_node("Mul", ["s", "b"], ["p"]),
        helper.make_node("Concat", ["p", "a"], ["output"], axis=1),
    ]
    assert half_error(model_of(nodes, {"w": random(6, 3, 3, 3)}), tmp_path, target="adreno640") < 2e-3


@pytest.mark.opencl
def test_sums_are_wider_than_what_is_stored(tmp_path):
    """4,096 values of about 100 add up to far more than the largest half."""
    nodes = [
        helper.make_node("Add", ["input", "level"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["output"]),
    ]
    image = networks.value("input", ["batch", 3, 64, 64])
    model = model_of(nodes, {"level": np.full((1, 3, 1, 1), 100, np.float32)}, inputs=[image])
    assert half_error(model, tmp_path) < 1e-3


@pytest.mark.opencl
def test_inputs_and_outputs_stay_float32_and_a_package_runs_again(tmp_path):
    model, device = residual_network(), local_device()
    path = compile_model(model, tmp_path, precision="fp16").path
    images = random(3, 3, 8, 8, seed=9)
    outputs = run_inputs(path, device, images)
    assert outputs.dtype == np.float32
    expected = networks.run(model, images)
    assert np.abs(outputs - expected).max() < TOLERANCES["fp16"] * np.abs(expected).max()
    assert measure(path, device, runs=1, warmup=0, profile_runs=0).precision == "fp16"


def test_a_package_of_halves_has_half_the_bytes_and_other_keys(tmp_path):
    packages = {}
    for precision in ("fp32", "fp16"):
        (tmp_path / precision).mkdir()
        path = compile_model(residual_network(), tmp_path / precision, target="adreno640", precision=precision).path
        packages[precision] = read_package(path)
    whole, half = packages["fp32"], packages["fp16"]
    assert (whole.precision, half.precision) == ("fp32", "fp16")
    assert half.arena_bytes < 0.8 * whole.arena_bytes  # small tensors, rounded up to the alignment
    floats = [b for b in half.buffers if b.dtype == "float32"]
    assert {b.role for b in floats} == {"input", "output"}
    assert [s.macs for s in half.steps if s.macs] == [s.macs for s in whole.steps if s.macs]
    keys = {name: {kernel_key(p, i) for i in range(len(p.steps))} for name, p in packages.items()}
    assert not keys["fp32"] & keys["fp16"]
    assert not any("cl_khr_fp16" in kernel.source for kernel in half.kernels)


@pytest.mark.opencl
def test_an_overflow_is_an_error_that_says_what_to_do(tmp_path):
    nodes = [
        helper.make_node("Mul", ["input", "large"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["output"]),
    ]
    weights = {"large": np.float32(60000), "w": random(4, 3, 1, 1) * 5, "v": random(2, 4, 1, 1)}
    path = compile_model(model_of(nodes, weights), tmp_path, precision="fp16").path
    with pytest.raises(CandidateError, match=r"fp16, which overflow above 65504.*--precision fp32") as caught:
        measure(path, local_device(), runs=1, warmup=0, profile_runs=0)
    assert caught.value.reason == "wrong_output"


@pytest.mark.parametrize(("value", "shown"), [(70000.0, "70000"), (-1e6, "1e\\+06"), (np.inf, "inf"), (np.nan, "nan")])
def test_a_weight_that_no_half_holds_is_refused_with_its_layer(value, shown, tmp_path):
    weight = random(4, 3, 3, 3)
    weight[1, 2, 0, 0] = value
    nodes = [helper.make_node("Conv", ["input", "w"], ["output"], name="stem.conv", pads=[1] * 4)]
    path = networks.save(model_of(nodes, {"w": weight}), tmp_path / "network.onnx")
    target = get_target("host-opencl", precision="fp16")
    with pytest.raises(CompileError, match=f"'stem.conv' has a weight of {shown}.* 65504: .*--precision fp32"):
        compile_onnx(path, target, output=tmp_path / "p.actpkg")
    assert not (tmp_path / "p.actpkg").exists()


def test_the_largest_half_is_allowed():
    require_half_range(np.float32([65504, -65504]), "layer")
    require_half_range(np.empty(0, np.float32), "layer")
    with pytest.raises(CompileError, match="layer has a weight of 65505"):
        require_half_range(np.float32([65505]), "layer")


def test_an_unknown_precision_names_the_nearest():
    with pytest.raises(
        TargetError, match=r"unknown precision 'fp61': did you mean 'fp16'[?] known precisions: fp32, f"
    ):
        get_target("host-opencl", precision="fp61")
    with pytest.raises(TargetError, match="unknown precision 'int8'; known precisions: fp32, fp16"):
        get_target("host-opencl", precision="int8")
