import json

import numpy as np
import pytest
from act.compiler.compile import compile_onnx
from act.compiler.errors import CompileError, OnnxInputError
from act.compiler.targets import Target, get_target
from act.device.harness import run_inputs
from act.device.package_format import read_package
from onnx import helper

from . import onnx_networks as networks
from .kernel_check import TARGETS, compile_model, local_device, verified_error
from .onnx_networks import model_of, random


def residual_network(*, zero=0.0, metadata=None):
    """Option A residual network: 6 -> 6 -> 12 (stride 2, slice and pad), pooled, classified."""
    rng = np.random.default_rng(1)
    weights, nodes = {}, []

    def conv(source, name, c_in, c_out, stride=1):
        weight = random(c_out, c_in, 3, 3, seed=len(weights)) * 0.3
        matrix = weight.reshape(c_out, -1)
        matrix[:, rng.permutation(matrix.shape[1])[: int(zero * matrix.shape[1])]] = 0
        weights[f"{name}.w"], weights[f"{name}.b"] = weight, random(c_out, seed=len(weights))
        inputs = [source, f"{name}.w", f"{name}.b"]
        nodes.append(helper.make_node("Conv", inputs, [name], name=name, pads=[1] * 4, strides=[stride] * 2))
        return name

    def relu(source):
        nodes.append(helper.make_node("Relu", [source], [f"{source}.relu"]))
        return f"{source}.relu"

    trunk = relu(conv("input", "stem", 3, 6))
    inner = conv(relu(conv(trunk, "a1", 6, 6)), "a2", 6, 6)
    nodes.append(helper.make_node("Add", [inner, trunk], ["a"]))
    trunk = relu("a")
    inner = conv(relu(conv(trunk, "b1", 6, 12, stride=2)), "b2", 12, 12)
    bounds = {
        "starts": [0, 0],
        "ends": [2**31, 2**31],
        "axes": [2, 3],
        "steps": [2, 2],
        "pads": [0, 3, 0, 0, 0, 3, 0, 0],
    }
    weights |= {name: np.array(values, np.int64) for name, values in bounds.items()}
    nodes.append(helper.make_node("Slice", [trunk, "starts", "ends", "axes", "steps"], ["slice"]))
    nodes.append(helper.make_node("Pad", ["slice", "pads"], ["pad"]))
    nodes.append(helper.make_node("Add", [inner, "pad"], ["b"]))
    nodes.append(helper.make_node("GlobalAveragePool", [relu("b")], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    weights |= {"fc.w": random(5, 12), "fc.b": random(5)}
    nodes.append(helper.make_node("Gemm", ["flat", "fc.w", "fc.b"], ["output"], name="fc", transB=1))
    return model_of(nodes, weights, metadata=metadata)


@pytest.mark.opencl
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("zero", [0.0, 0.7])
def test_a_residual_network_equals_onnxruntime(target, zero, tmp_path):
    assert verified_error(residual_network(zero=zero), tmp_path, target=target) < 1e-5


@pytest.mark.opencl
def test_a_package_runs_again_and_on_other_inputs(tmp_path):
    model, device = residual_network(zero=0.6), local_device()
    package = compile_model(model, tmp_path, batch=2).path
    images = random(5, 3, 8, 8, seed=9)
    outputs = run_inputs(package, device, images)
    assert np.allclose(outputs, networks.run(model, images), rtol=1e-4, atol=1e-4)


def test_steps_tell_lowering_reason_and_source(tmp_path):
    compiled = compile_model(residual_network(zero=0.7), tmp_path, target="adreno640")
    steps = {step.source_op: step for step in compiled.steps}
    assert {"stem", "a1", "a2", "b1", "b2", "fc"} <= set(steps)
    for step in compiled.steps:
        assert step.lowering in ("dense", "column", "generic")
        assert step.modelled_us > 0
        assert step.bytes > 0
    assert "columns kept" in steps["b2"].reason
    assert steps["fc"].macs == 60
    assert compiled.modelled_latency_ms * 1e3 > sum(step.modelled_us for step in compiled.steps)


def test_work_is_counted_for_the_lowering_that_is_used(tmp_path):
    dense = {s.source_op: s for s in compile_model(residual_network(), tmp_path).steps}
    assert dense["a1"].macs == 6 * 54 * 64
    pruned = {s.source_op: s for s in compile_model(residual_network(zero=0.7), tmp_path).steps}
    kept = 54 - int(0.7 * 54)
    assert pruned["a1"].macs == (6 * kept * 64 if pruned["a1"].lowering == "column" else dense["a1"].macs)


def test_our_packed_columns_and_foreign_zero_columns_compile_alike(tmp_path):
    columns = [0, 5, 11, 26]
    packed = networks.column_conv_model(columns=columns)
    dense = np.zeros((4, 27), np.float32)
    dense[:, columns] = random(4, 4)
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["c"], name="layer.conv", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["output"]),
    ]
    foreign = model_of(nodes, {"w": dense.reshape(4, 3, 3, 3), "b": random(4, seed=1)})
    packages = []
    for name, model in (("packed", packed), ("foreign", foreign)):
        (tmp_path / name).mkdir()
        packages.append(read_package(compile_model(model, tmp_path / name).path))
    first, second = packages
    assert first.weights == second.weights
    assert [kernel.source for kernel in first.kernels] == [kernel.source for kernel in second.kernels]


def test_equal_layers_share_a_kernel_and_compiling_is_deterministic(tmp_path):
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        paths.append(compile_model(residual_network(), tmp_path / name).path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    package = read_package(paths[0])
    kernel_of = {step.source_operator: step.kernel for step in package.steps}
    assert len(package.kernels) == len({kernel.source for kernel in package.kernels})
    assert kernel_of["a1"] != kernel_of["a2"]  # one of them adds a residual


def test_preprocessing_and_a_verification_pair_travel_along(tmp_path):
    record = {"height": 8, "class_names": ["a", "b"]}
    model = residual_network(metadata={"act.preprocessing": json.dumps(record)})
    package = read_package(compile_model(model, tmp_path).path)
    assert package.preprocessing == record
    assert package.verification_input.shape == (1, 3, 8, 8)
    expected = networks.run(model, package.verification_input)
    assert np.allclose(package.verification_output, expected, rtol=1e-5, atol=1e-5)


def test_a_flattened_result_costs_no_kernel(tmp_path):
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["output"]),
    ]
    assert len(compile_model(model_of(nodes, {"w": random(3, 4)}), tmp_path).steps) == 2


@pytest.mark.opencl
def test_views_of_padded_memory_and_of_the_input_are_copied(tmp_path):
    nodes = [
        helper.make_node("Reshape", ["input", "shape"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["c"], pads=[1] * 4),
        helper.make_node("Reshape", ["c", "back"], ["s"]),
        helper.make_node("Conv", ["s", "v"], ["d"], pads=[1] * 4),
        helper.make_node("Flatten", ["d"], ["output"]),
    ]
    weights = {
        "shape": np.array([0, 3, 16, 4]),
        "back": np.array([0, 3, 8, 8]),
        "w": random(3, 3, 3, 3),
        "v": random(2, 3, 3, 3),
    }
    assert verified_error(model_of(nodes, weights), tmp_path, batch=2) < 1e-5


@pytest.mark.opencl
def test_a_layer_of_zeros_is_its_bias(tmp_path):
    model = model_of(
        [helper.make_node("Conv", ["input", "w", "b"], ["output"], pads=[1] * 4)],
        {"w": np.zeros((4, 3, 3, 3), np.float32), "b": random(4)},
    )
    assert verified_error(model, tmp_path) == 0


def test_a_buffer_too_large_for_the_target_is_refused(tmp_path):
    host = get_target("host-opencl")
    fields = {name: getattr(host, name) for name in Target.__dataclass_fields__}
    small = Target(**{**fields, "max_buffer_bytes": 1024})
    path = networks.save(residual_network(), tmp_path / "network.onnx")
    with pytest.raises(CompileError, match=r"needs \d+ bytes; buffers on host-opencl have at most 1024"):
        compile_onnx(path, small, output=tmp_path / "p.actpkg")
    assert not (tmp_path / "p.actpkg").exists()


def test_a_file_that_is_no_network_leaves_an_earlier_package_alone(tmp_path):
    path = tmp_path / "network.onnx"
    path.write_bytes(b"no onnx")
    (tmp_path / "p.actpkg").write_bytes(b"earlier")
    with pytest.raises(OnnxInputError):
        compile_onnx(path, get_target("host-opencl"), output=tmp_path / "p.actpkg")
    assert (tmp_path / "p.actpkg").read_bytes() == b"earlier"
