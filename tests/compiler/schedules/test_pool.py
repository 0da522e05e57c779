import pytest
from onnx import helper

from ..kernel_check import verified_error
from ..onnx_networks import model_of, random

POOLS = {
    "max, padded": ("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "max, ceil": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "max, dilated": ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    "average, padding counts": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}),
    "average, padding does not count": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]}),
    "average, ceil": ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "average, uneven": ("AveragePool", {"kernel_shape": [3, 2], "pads": [1, 0, 0, 1], "strides": [2, 1]}),
    "global": ("GlobalAveragePool", {}),
}


@pytest.mark.opencl
@pytest.mark.parametrize("name", POOLS)
def test_pooling_between_convolutions(name, tmp_path):
    operator, attributes = POOLS[name]
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node(operator, ["c"], ["p"], **attributes),
        helper.make_node("Conv", ["p", "v"], ["output"], pads=[1, 1, 1, 1]),
    ]
    model = model_of(nodes, {"w": random(5, 3, 3, 3), "v": random(4, 5, 3, 3)})
    assert verified_error(model, tmp_path) < 1e-5
