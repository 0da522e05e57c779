"""ONNX files become static, dense models and Relax; what is not such a file is refused with a message."""

import json

import numpy as np
import onnx
import pytest
from act.compiler.errors import OnnxInputError, UnsupportedOpError
from act.compiler.importer import import_onnx, load_onnx
from onnx import TensorProto, helper

from . import onnx_networks as networks

COLUMNS = [1, 2, 10, 20, 26]


@pytest.fixture
def write(tmp_path):
    return lambda model: networks.save(model, tmp_path / "model.onnx")


def classifier(metadata=None):
    """ColumnConv -> relu -> global pool -> flatten -> linear, with an open batch."""
    model = networks.column_conv_model(columns=COLUMNS)
    model.graph.node[1].output[0] = "r"
    model.graph.node.extend(
        [
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "fc"], ["output"], transB=1),
        ]
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(networks.random(10, 4), "fc"))
    model.graph.output[0].CopyFrom(networks.value("output", ["batch", 10]))
    helper.set_model_props(model, metadata or {})
    return model


def test_import_gives_a_static_dense_model_and_relax(write):
    model = classifier({"act.preprocessing": json.dumps({"height": 8}), "author": "x"})
    imported = import_onnx(write(model))
    assert (imported.input_name, imported.input_shape) == ("input", (1, 3, 8, 8))
    assert (imported.output_name, imported.output_shape) == ("output", (1, 10))
    assert imported.preprocessing == {"height": 8}
    assert imported.metadata["author"] == "x"
    assert networks.operators(imported.onnx_model)[0] == "Conv"
    function = imported.relax_module["main"]
    assert len(function.params) == 1
    assert "relax.nn.conv2d" in str(function) or "nn.conv2d" in imported.relax_module.script()
    image = networks.random(1, 3, 8, 8, seed=4)
    np.testing.assert_allclose(
        networks.run(imported.onnx_model, image), networks.run(model, image), rtol=1e-5, atol=1e-6
    )


def test_batch_is_fixed_to_what_was_asked(write):
    loaded = load_onnx(write(classifier()), batch=3)
    assert networks.run(loaded, networks.random(3, 3, 8, 8)).shape == (3, 10)


def test_functions_of_others_are_inlined(write):
    opset = [helper.make_opsetid("", networks.OPSET)]
    nodes = [helper.make_node("Relu", ["x"], ["t"]), helper.make_node("Neg", ["t"], ["y"])]
    function = helper.make_function("elsewhere", "NegativeRelu", ["x"], ["y"], nodes, opset)
    call = helper.make_node("NegativeRelu", ["input"], ["output"], domain="elsewhere")
    model = networks.model_of([call], {}, functions=[function], domains=["elsewhere"])
    assert networks.operators(load_onnx(write(model))) == ["Relu", "Neg"]


def test_not_an_onnx_file(tmp_path):
    path = tmp_path / "photo.onnx"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4)
    with pytest.raises(OnnxInputError, match="is not an ONNX"):
        load_onnx(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x07"])
def test_empty_and_short_files(tmp_path, content):
    path = tmp_path / "short.onnx"
    path.write_bytes(content)
    with pytest.raises(OnnxInputError, match="short"):
        load_onnx(path)


def test_a_file_cut_at_any_place_is_refused(tmp_path):
    data = networks.conv_model().SerializeToString()
    path = tmp_path / "cut.onnx"
    for length in range(0, len(data), 23):
        path.write_bytes(data[:length])
        with pytest.raises(OnnxInputError, match="cut"):
            load_onnx(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(OnnxInputError, match="cannot read"):
        load_onnx(tmp_path / "none.onnx")
    with pytest.raises(OnnxInputError, match="cannot read"):
        load_onnx(tmp_path)


def test_invalid_graph_is_refused(write):
    model = networks.conv_model()
    model.graph.node[1].input[0] = "nowhere"
    with pytest.raises(OnnxInputError, match="not a valid ONNX model"):
        load_onnx(write(model))


def test_contradicting_shapes_are_refused(write):
    model = networks.conv_model(inputs=[networks.value("input", [1, 5, 8, 8])])
    with pytest.raises(OnnxInputError, match="contradict each other"):
        load_onnx(write(model))


def test_unsupported_operator_is_named(write):
    model = networks.model_of([helper.make_node("Det", ["input"], ["output"], name="d")], {})
    with pytest.raises(UnsupportedOpError, match=r"'Det'.*supported: "):
        load_onnx(write(model))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (networks.value("input", [1, 3, 8, 8], TensorProto.UINT8), "type uint8"),
        (networks.value("input", [1, 3, 8, 8], TensorProto.FLOAT16), "type float16"),
        (networks.value("input", [1, 3, 4, 8, 8]), "shape \\(1, 3, 4, 8, 8\\); float32 images"),
        (networks.value("input", ["batch", 3, "height", 8]), "only the batch may be open"),
        (networks.value("input", [4, 3, 8, 8]), "fixed batch 4"),
    ],
)
def test_inputs_that_are_no_float_images(write, declared, message):
    model = networks.model_of([helper.make_node("Identity", ["input"], ["output"])], {}, inputs=[declared])
    with pytest.raises(OnnxInputError, match=message):
        load_onnx(write(model))


def test_several_inputs_are_refused_by_name(write):
    inputs = [networks.value(name, [1, 3, 8, 8]) for name in ("left", "right")]
    model = networks.model_of([helper.make_node("Add", ["left", "right"], ["output"])], {}, inputs=inputs)
    with pytest.raises(OnnxInputError, match="2 inputs \\('left', 'right'\\)"):
        load_onnx(write(model))


def test_several_outputs_are_refused_by_name(write):
    model = networks.conv_model(outputs=[networks.value(name, [None] * 4) for name in ("output", "c")])
    with pytest.raises(OnnxInputError, match="2 outputs \\('output', 'c'\\)"):
        load_onnx(write(model))


def test_initializers_listed_as_inputs_are_no_inputs(write):
    inputs = [networks.value("input", [1, 3, 8, 8]), networks.value("w", [4, 3, 3, 3])]
    loaded = load_onnx(write(networks.conv_model(inputs=inputs)))
    assert [value.name for value in loaded.graph.input] == ["input"]


def test_output_that_is_a_constant_is_refused(write):
    model = networks.model_of([helper.make_node("Neg", ["w"], ["output"])], {"w": networks.random(4)})
    with pytest.raises(OnnxInputError, match="does not depend on the input"):
        load_onnx(write(model))


def test_old_operator_sets_are_refused(write):
    model = networks.conv_model()
    model.opset_import[0].version = 7
    with pytest.raises(OnnxInputError, match="operator set 7"):
        load_onnx(write(model))


@pytest.mark.parametrize("text", ["{not json", "[1]"])
def test_malformed_preprocessing_is_refused(write, text):
    with pytest.raises(OnnxInputError, match=r"act\.preprocessing"):
        import_onnx(write(classifier({"act.preprocessing": text})))


def test_batch_below_one(write):
    with pytest.raises(ValueError, match="batch must be at least 1"):
        load_onnx(write(networks.conv_model()), batch=0)


def test_operator_of_an_unknown_domain_is_named(write):
    node = helper.make_node("Magic", ["input"], ["output"], name="m", domain="com.example")
    outputs = [networks.value("output", [1, 3, 8, 8])]
    with pytest.raises(UnsupportedOpError, match=r"'com\.example\.Magic' \(node 'm'\)"):
        load_onnx(write(networks.model_of([node], {}, outputs=outputs, domains=["com.example"])))


def test_features_are_an_input_too(write):
    nodes = [helper.make_node("Gemm", ["input", "w"], ["output"])]
    inputs = [networks.value("input", ["batch", 5])]
    loaded = load_onnx(write(networks.model_of(nodes, {"w": networks.random(5, 2)}, inputs=inputs)))
    assert networks.run(loaded, networks.random(1, 5)).shape == (1, 2)
