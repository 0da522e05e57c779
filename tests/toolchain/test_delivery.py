"""Delivered packages in the precision that was asked for, and what happens where half floats are too small."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from act.compiler.targets import get_target
from act.device.local import list_local_devices
from act.device.package_format import read_package
from act.device.pool import DevicePool
from act.device.pool_opening import open_pool
from act.models.registry import create_model, default_arguments
from act.toolchain.capture import capture
from act.toolchain.delivery import compile_checked, compile_problem
from act.toolchain.results import latencies, ratios
from onnx import TensorProto, helper, numpy_helper
from torch import nn

INPUTS = np.random.default_rng(1).standard_normal((3, 3, 8, 8), dtype=np.float32)


@pytest.fixture(scope="module")
def pool() -> Iterator[DevicePool]:
    devices = list_local_devices("opencl")
    if not devices:
        pytest.skip("no local OpenCL device: install pyopencl and pocl-binary-distribution")
    with open_pool(devices[0].id) as opened:
        yield opened


def two_convolutions(path: Path, *, scale: float) -> Path:
    """Two convolutions; the first multiplies by about ``scale`` and the second divides by it."""
    rng = np.random.default_rng(0)
    weights = {
        "v": rng.standard_normal((4, 3, 3, 3), dtype=np.float32) * np.float32(scale),
        "w": rng.standard_normal((2, 4, 1, 1), dtype=np.float32) / np.float32(scale),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "v"], ["a"], name="first", pads=[1] * 4),
            helper.make_node("Conv", ["a", "w"], ["output"], name="second"),
        ],
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 2, 8, 8])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.opencl
def test_a_package_of_halves_is_compared_with_its_own_tolerance(pool: DevicePool, tmp_path: Path) -> None:
    onnx_file = two_convolutions(tmp_path / "m.onnx", scale=1.0)
    target = get_target("host-opencl", precision="fp16")
    found = compile_checked(onnx_file, tmp_path / "m.actpkg", target, pool, INPUTS, runs=3)
    assert found.package is not None
    assert read_package(found.package.path).precision == "fp16"
    assert found.equality[0].tolerance == 2e-2
    assert 1e-5 < found.equality[0].difference < 2e-2
    assert found.latency is not None
    records = latencies(1.0, target, found.latency)
    assert [record["precision"] for record in records] == ["fp16", "fp16"]


@pytest.mark.opencl
def test_a_network_beyond_halves_keeps_its_onnx_file_and_says_what_to_do(pool: DevicePool, tmp_path: Path) -> None:
    onnx_file, package = two_convolutions(tmp_path / "m.onnx", scale=30000.0), tmp_path / "m.actpkg"
    half = get_target("host-opencl", precision="fp16")
    found = compile_checked(onnx_file, package, half, pool, INPUTS, runs=3)
    assert found.package is None
    assert found.problem is not None
    assert "compile with --precision fp32" in found.problem
    assert onnx_file.exists()
    assert not package.exists()
    whole = compile_checked(onnx_file, package, replace(half, precision="fp32"), pool, INPUTS, runs=3)
    assert whole.package is not None


def test_latencies_of_two_precisions_are_not_compared() -> None:
    sizes = {"params": 2, "conv_params": 2, "macs": 2, "file_bytes": 2}
    figures = [
        {**sizes, "latency": latencies(ms, get_target("adreno640", precision=precision), None)}
        for ms, precision in ((4.0, "fp32"), (2.0, "fp32"), (1.0, "fp16"))
    ]
    assert ratios(figures[0], figures[1])["latency"] == 2.0
    assert "latency" not in ratios(figures[0], figures[2])


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "mobilenet_v2"])
def test_nothing_speaks_against_compiling_our_networks(name: str) -> None:
    model = create_model(name, **default_arguments(name, num_classes=10, image_shape=(3, 32, 32)))
    assert compile_problem(capture(model.eval(), (3, 32, 32))) is None


def test_an_operator_without_a_kernel_is_known_before_any_work() -> None:
    class Sorted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sort(x.flatten(1)).values

    problem = compile_problem(capture(Sorted().eval(), (1, 4, 4)))
    assert problem is not None
    assert "TopK" in problem or "Sort" in problem
