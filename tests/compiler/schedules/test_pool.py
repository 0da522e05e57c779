import pytest
from act.device.package_format import read_package
from onnx import helper

from ..kernel_check import TARGETS, compile_model, verified_error
from ..onnx_networks import model_of, random, value

PADDED = {"pads": [1, 1, 1, 1], "strides": [2, 2]}
POOLS = [
    ("MaxPool", {"kernel_shape": [3, 3], **PADDED}),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    ("AveragePool", {"kernel_shape": [3, 3], **PADDED}),
    ("AveragePool", {"kernel_shape": [3, 3], **PADDED, "count_include_pad": 1}),
    ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    (
        "AveragePool",
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1, "count_include_pad": 1},
    ),
    ("AveragePool", {"kernel_shape": [3, 2], "pads": [1, 0, 0, 1], "strides": [2, 1]}),
    ("GlobalAveragePool", {}),
    ("GlobalMaxPool", {}),
]


@pytest.mark.opencl
@pytest.mark.parametrize("target", TARGETS)
def test_every_form_of_pooling(target, tmp_path):
    nodes = [helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1])]
    for index, (operator, attributes) in enumerate(POOLS):
        nodes.append(helper.make_node(operator, ["c"], [f"p{index}"], **attributes))
        nodes.append(helper.make_node("Flatten", [f"p{index}"], [f"f{index}"]))
    nodes.append(helper.make_node("Concat", [f"f{index}" for index in range(len(POOLS))], ["output"], axis=1))
    assert verified_error(model_of(nodes, {"w": random(5, 3, 3, 3)}), tmp_path, target=target) < 1e-5


@pytest.mark.opencl
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("attributes", [attributes for name, attributes in POOLS if name == "MaxPool"])
def test_a_pool_behind_a_relu_reads_zeros_around_the_image(attributes, target, tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], **attributes),
        helper.make_node("Conv", ["p", "v"], ["output"], pads=[1, 1, 1, 1]),
    ]
    weights = {"w": random(5, 3, 3, 3), "v": random(4, 5, 3, 3)}
    model = model_of(nodes, weights, inputs=[value("input", ["n", 3, 21, 34])])
    assert verified_error(model, tmp_path, target=target, batch=2) < 1e-5
    compiled = compile_model(model, tmp_path, target="host-opencl")
    (pool,) = (kernel for kernel in read_package(compiled.path).kernels if "pool" in kernel.name)
    assert "condval" not in pool.source  # as TVM calls an element that is compared


@pytest.mark.opencl
def test_a_pool_of_negative_values_does_not(tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Neg", ["r"], ["d"]),
        helper.make_node("MaxPool", ["d"], ["output"], kernel_shape=[3, 3], **PADDED),
    ]
    assert verified_error(model_of(nodes, {"w": random(5, 3, 3, 3)}), tmp_path) < 1e-5


@pytest.mark.opencl
def test_a_pool_of_the_input_does_not_even_where_a_convolution_pads_it(tmp_path):
    nodes = [
        helper.make_node("AveragePool", ["input"], ["p"], kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1),
        helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["p", "c"], ["output"]),
    ]
    assert verified_error(model_of(nodes, {"w": random(3, 3, 3, 3)}), tmp_path, batch=2) < 1e-5


@pytest.mark.opencl
def test_pooling_between_padded_convolutions(tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "v"], ["output"], pads=[1, 1, 1, 1]),
    ]
    assert verified_error(model_of(nodes, {"w": random(5, 3, 3, 3), "v": random(4, 5, 3, 3)}), tmp_path) < 1e-5


@pytest.mark.opencl
@pytest.mark.parametrize("target", TARGETS)
def test_the_mean_of_a_large_image_is_taken_by_rows_first(target, tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["c", "axes"], ["m"], keepdims=0),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Add", ["m", "f"], ["output"]),
    ]
    weights = {"w": random(5, 3, 3, 3), "axes": [2, 3]}
    model = model_of(nodes, weights, inputs=[value("input", ["n", 3, 40, 36])])
    pools = [step for step in compile_model(model, tmp_path, target=target).steps if step.kind == "pool"]
    assert len(pools) == 4
    assert verified_error(model, tmp_path, target=target, batch=2) < 1e-5
