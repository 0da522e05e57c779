"""Limits of a target: weights beyond them are split, everything else is refused before a device sees it."""

from dataclasses import replace

import pytest
from act.compiler.codegen.opencl import DeviceKernel
from act.compiler.compile import compile_onnx
from act.compiler.errors import CompileError
from act.compiler.limits import check_limits, local_memory_bytes
from act.compiler.lowered import LoweredNetwork, LoweredStep, Tensor
from act.compiler.memory.execution_plan import plan_memory
from act.compiler.memory.layout import Layout
from act.compiler.targets import get_target
from act.device.harness import measure
from act.device.package_format import read_package
from onnx import helper

from .kernel_check import TARGETS, local_device
from .onnx_networks import conv_model, model_of, random, save


def classifier():
    """Convolution, linear, relu, linear; the weights have 15, 392 and 20 KB."""
    nodes = [
        helper.make_node("Conv", ["input", "c"], ["x"], name="conv", pads=[1] * 4),
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("GlobalAveragePool", ["y"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["h"], name="large", transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "v"], ["output"], name="small"),
    ]
    weights = {"c": random(140, 3, 3, 3), "w": random(700, 140), "b": random(700), "v": random(700, 7)}
    return model_of(nodes, weights)


@pytest.mark.opencl
@pytest.mark.parametrize("target", TARGETS)
def test_large_weights_are_split_by_output_features(target, tmp_path):
    path = save(classifier(), tmp_path / "network.onnx")
    small = replace(get_target(target), max_buffer_bytes=100_000)
    compiled = compile_onnx(path, small, output=tmp_path / "p.actpkg", batch=2)
    names = [step.source_op for step in compiled.steps]
    parts = [name for name in names if name.startswith("large.")]
    assert len(parts) >= 4
    assert parts == [f"large.{index}" for index in range(len(parts))]
    assert not [step for step in compiled.steps if step.reason.startswith("concatenation")]
    package = read_package(compiled.path)
    assert max(buffer.size_bytes for buffer in package.buffers) <= 100_000
    assert sum(step.macs for step in compiled.steps if step.source_op in parts) == 2 * 140 * 700
    assert measure(compiled.path, local_device(), runs=1, warmup=0, profile_runs=0).verified_error < 1e-5


@pytest.mark.opencl
def test_large_convolutions_are_split_too(tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "c", "b"], ["x"], name="conv", pads=[1] * 4),
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Conv", ["y", "d"], ["output"], name="last", pads=[1] * 4),
    ]
    model = model_of(nodes, {"c": random(70, 3, 3, 3), "b": random(70), "d": random(3, 70, 3, 3)})
    small = replace(get_target("host-opencl"), max_buffer_bytes=5_000)
    path = save(model, tmp_path / "network.onnx")
    with pytest.raises(CompileError, match=r"compile for a smaller --batch or smaller images"):
        compile_onnx(path, small, output=tmp_path / "p.actpkg")
    roomy = replace(get_target("host-opencl"), max_buffer_bytes=100_000)
    assert "conv" in [step.source_op for step in compile_onnx(path, roomy, output=tmp_path / "p.actpkg").steps]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"max_work_group_size": 2},
            r"kernel '.*' of '.*' has work-groups of \d+ work-items; adreno640 runs at most 2",
        ),
        ({"max_buffer_bytes": 2000}, r"needs \d+ bytes; buffers on adreno640 have at most 2000"),
    ],
)
def test_kernels_and_buffers_beyond_the_limits_are_refused(limits, message, tmp_path):
    path = save(conv_model(), tmp_path / "network.onnx")
    with pytest.raises(CompileError, match=message):
        compile_onnx(path, replace(get_target("adreno640"), **limits), output=tmp_path / "p.actpkg")
    assert not (tmp_path / "p.actpkg").exists()


def network_with(source, arguments):
    tensors = [
        Tensor(name=f"t{index}", role=role, dtype="float32", layout=Layout(shape=(4,)))
        for index, role in enumerate(["input", *["activation"] * (arguments - 2), "output"])
    ]
    kernel = DeviceKernel(name="k", source=source, global_size=(8, 1, 1), local_size=(8, 1, 1), arguments=())
    step = LoweredStep(kernel=kernel, arguments=tuple(tensors), written=(), operator="layer4.conv", layer=None)
    return LoweredNetwork(steps=(step,), input=tensors[0], output=tensors[-1])


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("__local float a[10000];", 2, "kernel 'k' of 'layer4.conv' needs 40000 bytes of local memory; adreno640 has"),
        ("", 129, "kernel 'k' of 'layer4.conv' has 129 arguments; at most 128 can be passed"),
    ],
)
def test_local_memory_and_arguments_are_checked(source, arguments, message):
    network = network_with(source, arguments)
    with pytest.raises(CompileError, match=message):
        check_limits(network, plan_memory(network), get_target("adreno640"))
    fitting = network_with("__local float a[100];", 128)
    check_limits(fitting, plan_memory(fitting), get_target("adreno640"))


@pytest.mark.opencl
def test_a_long_chain_of_operands_stays_below_the_limit_of_arguments(tmp_path):
    names = [f"c{index}" for index in range(150)]
    nodes, source = [], "input"
    for name in names:
        result = "output" if name == names[-1] else f"{name}.sum"
        nodes.append(helper.make_node("Add", [source, name], [result]))
        source = result
    model = model_of(nodes, {name: random(3, 1, 8, seed=index) for index, name in enumerate(names)})
    path = save(model, tmp_path / "network.onnx")
    compiled = compile_onnx(path, get_target("host-opencl"), output=tmp_path / "p.actpkg")
    package = read_package(compiled.path)
    assert max(len(step.arguments) for step in package.steps) <= 128
    assert measure(compiled.path, local_device(), runs=1, warmup=0, profile_runs=0).verified_error < 1e-5


def test_local_memory_is_read_from_the_source():
    assert local_memory_bytes("__kernel void f() { __local float a[64]; __local float4 b[8]; }") == 256 + 128
    assert local_memory_bytes("shared float tile[32];") == 128
    assert local_memory_bytes("__kernel void f(__global float* x) { float a[64]; }") == 0
