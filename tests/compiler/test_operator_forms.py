"""Forms of operators, shapes and types that are refused: with the layer, the reason, and what would work."""

import numpy as np
import pytest
from act.compiler.errors import CompileError, OnnxInputError, UnsupportedOpError
from act.compiler.importer import import_onnx, load_onnx
from onnx import TensorProto, helper

from . import onnx_networks as networks


def refused(tmp_path, nodes, weights=None, **options):
    path = networks.save(networks.model_of(nodes, weights or {}, **options), tmp_path / "network.onnx")
    with pytest.raises((UnsupportedOpError, OnnxInputError)) as caught:
        load_onnx(path)
    return str(caught.value)


def resize(weights, **attributes):
    inputs = ["input", "", "scales"] if "scales" in weights else ["input", "", "", "sizes"]
    return helper.make_node("Resize", inputs, ["output"], name="up", **attributes)


@pytest.mark.parametrize(
    ("attributes", "scales", "message"),
    [
        ({"mode": "cubic"}, [1, 1, 2, 2], "mode 'cubic' is not supported; 'nearest' and 'linear' are"),
        ({"mode": "linear", "antialias": 1}, [1, 1, 2, 2], "antialias and axes are not supported"),
        ({}, [1, 2, 2, 2], r"only height and width of (N, C, H, W) can change"),
        ({}, [1, 1, 1.3, 2], "give no whole sizes; give sizes in their place"),
        ({"coordinate_transformation_mode": "half_pixel_symmetric"}, [1, 1, 2, 2], "'half_pixel_symmetric'"),
    ],
)
def test_resize(attributes, scales, message, tmp_path):
    weights = {"scales": np.array(scales, np.float32)}
    error = refused(tmp_path, [resize(weights, **attributes)], weights)
    assert error.startswith("Resize 'up': ")
    assert message in error


def test_a_computed_table_of_indices(tmp_path):
    nodes = [
        helper.make_node("ReduceMax", ["input"], ["m"], keepdims=0),
        helper.make_node("Reshape", ["input", "m"], ["output"], name="r"),
    ]
    assert "Reshape" in refused(tmp_path, nodes)


def test_pads_and_their_mode(tmp_path):
    pads = {"pads": np.array([0, 0, -1, 0, 0, 0, 0, 0])}
    node = helper.make_node("Pad", ["input", "pads"], ["output"], name="p")
    assert "Pad 'p': negative pads are not supported; cut with a Slice" in refused(tmp_path, [node], pads)


def test_one_dimensional_convolution_and_pooling(tmp_path):
    reshape = helper.make_node("Reshape", ["input", "shape"], ["r"])
    shape = {"shape": np.array([0, 3, 64])}
    conv = helper.make_node("Conv", ["r", "w"], ["output"], name="c")
    message = refused(tmp_path, [reshape, conv], {**shape, "w": networks.random(4, 3, 3)})
    assert "Conv 'c': only 2-D convolution, of (N, C, H, W), is supported; this one has 1-D kernels" in message
    pool = helper.make_node("MaxPool", ["r"], ["output"], name="p", kernel_shape=[2])
    assert "MaxPool 'p': only 2-D pooling" in refused(tmp_path, [reshape, pool], shape)


def test_types_that_do_not_fit_are_named(tmp_path):
    node = helper.make_node("Conv", ["input", "w"], ["output"], name="double")
    weights = {"w": networks.random(4, 3, 3, 3).astype(np.float64)}
    assert "Conv 'double': its input 'w' has type double; only float32" in refused(tmp_path, [node], weights)
    cast = helper.make_node("Cast", ["input"], ["output"], name="half", to=TensorProto.FLOAT16)
    outputs = [networks.value("output", [1, 3, 8, 8], TensorProto.FLOAT16)]
    assert "'Cast' (node 'half')" in refused(tmp_path, [cast], outputs=outputs)


def test_windows_outside_of_the_image(tmp_path):
    attributes = {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1] * 4, "ceil_mode": 1}
    node = helper.make_node("AveragePool", ["input"], ["output"], name="p", **attributes)
    assert "AveragePool 'p': in ceil mode its last windows lie outside" in refused(tmp_path, [node])


def test_training_mode(tmp_path):
    weights = {name: np.ones(3, np.float32) for name in ("s", "b", "m", "v")}
    node = helper.make_node(
        "BatchNormalization", ["input", *weights], ["output", "rm", "rv"], name="bn", training_mode=1
    )
    assert "BatchNormalization 'bn': it is in training mode" in refused(tmp_path, [node], weights)


def test_images_too_small_for_the_network(tmp_path):
    nodes = [helper.make_node("Conv", ["input", "w"], ["output"], name="big")]
    message = refused(tmp_path, nodes, {"w": networks.random(2, 3, 11, 11)})
    assert "big" in message or "contradict" in message


def test_a_form_that_only_tvm_refuses_is_named_too(tmp_path):
    nodes = [
        helper.make_node("Relu", ["input"], ["r"]),
        helper.make_node("Gelu", ["r"], ["output"], name="g", approximate="roughly"),
    ]
    model = networks.model_of(nodes, {}, outputs=[networks.value("output", ["batch", 3, 8, 8])])
    model.opset_import[0].version = 20
    with pytest.raises(CompileError, match=r"cannot translate this network: .*Gelu 'g'"):
        import_onnx(networks.save(model, tmp_path / "network.onnx"))


@pytest.mark.parametrize(
    ("declared", "shape", "message"),
    [
        (["batch", 3, "height", 8], None, "only the batch may be open: fix the rest with --input-shape, as in"),
        (["batch", 3, "height", 8], (3, 8), "--input-shape 3,8 has 2 sizes"),
        (["batch", 3, "height", 8], (3, 8, 9), "does not fit input 'input', whose shape (batch, 3, height, 8)"),
        (["batch", "features"], None, "--input-shape 128 (features)"),
    ],
)
def test_open_dimensions_name_the_flag_that_fixes_them(declared, shape, message, tmp_path):
    model = networks.model_of(
        [helper.make_node("Relu", ["input"], ["output"])], {}, inputs=[networks.value("input", declared)]
    )
    path = networks.save(model, tmp_path / "network.onnx")
    with pytest.raises(OnnxInputError) as caught:
        load_onnx(path, input_shape=shape)
    assert message in str(caught.value)


def test_open_dimensions_are_fixed_by_the_flag(tmp_path):
    model = networks.conv_model(inputs=[networks.value("input", ["batch", 3, "height", "width"])])
    loaded = load_onnx(networks.save(model, tmp_path / "network.onnx"), batch=2, input_shape=(3, 10, 12))
    assert networks.run(loaded, networks.random(2, 3, 10, 12)).shape == (2, 4, 10, 12)
