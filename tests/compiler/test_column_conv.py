"""ColumnConv nodes become dense convolutions that compute the same."""

import numpy as np
import onnx
import pytest
from act.compiler.errors import OnnxInputError
from act.compiler.passes.column_conv import densify_column_convs, scatter_columns
from act.compiler.zero_columns import kept_columns

from . import onnx_networks as networks

COLUMNS = [0, 4, 5, 13, 26]


def test_dense_model_equals_the_function_in_onnxruntime():
    model = networks.column_conv_model(columns=COLUMNS)
    image = networks.random(2, 3, 8, 8, seed=7)
    expected = networks.run(model, image)
    assert densify_column_convs(model) == 1
    onnx.checker.check_model(model)
    assert networks.operators(model) == ["Conv", "Relu"]
    assert not model.functions
    np.testing.assert_allclose(networks.run(model, image), expected, rtol=1e-6, atol=1e-6)


def test_packed_weight_and_columns_are_gone_and_found_again():
    model = networks.column_conv_model(columns=COLUMNS)
    densify_column_convs(model)
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert set(weights) == {"w.dense", "b"}
    assert kept_columns(weights["w.dense"]).tolist() == COLUMNS


def test_model_without_column_conv_is_left_alone():
    model = networks.conv_model()
    before = model.SerializeToString()
    assert densify_column_convs(model) == 0
    assert model.SerializeToString() == before


def test_bias_is_optional():
    model = networks.column_conv_model(columns=COLUMNS)
    del model.graph.node[0].input[3]
    densify_column_convs(model)
    assert list(model.graph.node[0].input) == ["input", "w.dense"]


def test_scatter_keeps_type_and_order():
    dense = scatter_columns(np.array([[1, 2], [3, 4]], dtype=np.float16), np.array([3, 1]), 5)
    assert dense.dtype == np.float16
    assert dense.tolist() == [[0, 2, 0, 1, 0], [0, 4, 0, 3, 0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": [0, 27]}, "0..26"),
        ({"columns": [-1, 3]}, "0..26"),
        ({"columns": [3, 3]}, "twice"),
        ({"columns": COLUMNS, "packed": networks.random(4, 9)}, "packed weight has shape"),
        ({"columns": COLUMNS, "weight_shape": (5, 3, 3, 3)}, "packed weight has shape"),
        ({"columns": COLUMNS, "weight_shape": (4, 27)}, "weight_shape must be"),
        ({"columns": COLUMNS, "kernel_shape": [1, 1]}, "kernel_shape"),
    ],
)
def test_a_node_that_does_not_fit_together_is_refused_by_name(arguments, message):
    with pytest.raises(OnnxInputError, match=message) as caught:
        densify_column_convs(networks.column_conv_model(**arguments))
    assert "'layer.conv'" in str(caught.value)


def test_a_weight_that_is_computed_is_refused():
    model = networks.column_conv_model(columns=COLUMNS)
    model.graph.node[0].input[1] = "input"
    with pytest.raises(OnnxInputError, match="input 1 must be a constant"):
        densify_column_convs(model)
