import numpy as np
import pytest
from act.compiler.importer import import_onnx
from act.device.package_format import read_package
from onnx import helper
from tvm import relax

from .kernel_check import compile_model, verified_error
from .onnx_networks import model_of, random, save


def relu6(*, low=0.0, high=6.0):
    bounds = {name: np.float32(value) for name, value in (("low", low), ("high", high)) if value is not None}
    inputs = ["c", "low" if low is not None else "", *(["high"] if high is not None else [])]
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"], pads=[1] * 4),
        helper.make_node("Clip", inputs, ["a"]),
        helper.make_node("Conv", ["a", "w2"], ["d"], pads=[1] * 4),
        helper.make_node("Clip", ["d", *inputs[1:]], ["output"]),
    ]
    return model_of(nodes, {"w": random(4, 3, 3, 3), "w2": random(4, 4, 3, 3), **bounds})


def operators(module):
    values = [binding.value for block in module["main"].body.blocks for binding in block.bindings]
    return [str(value.op.name) for value in values if isinstance(value, relax.Call)]


def test_bounds_are_literals_of_the_convolutions_kernels(tmp_path):
    package = read_package(compile_model(relu6(), tmp_path, target="adreno640").path)
    weights = [buffer for buffer in package.buffers if buffer.role == "weight" and buffer.dtype == "float32"]
    assert len(weights) == 2
    assert sum(step.macs > 0 for step in package.steps) == 2
    assert any("6.000000e+00f" in kernel.source for kernel in package.kernels)


def test_nothing_is_left_to_fold(tmp_path):
    module = import_onnx(save(relu6(), tmp_path / "network.onnx")).relax_module
    assert operators(module) == ["relax.nn.conv2d", "relax.maximum", "relax.minimum"] * 2


@pytest.mark.opencl
@pytest.mark.parametrize(
    "bounds",
    [{}, {"low": -1.0}, {"high": None}, {"low": None}, {"low": float("nan"), "high": 2.0}, {"high": float("inf")}],
)
def test_the_result_stays(bounds, tmp_path):
    assert verified_error(relu6(**bounds), tmp_path) < 1e-5
