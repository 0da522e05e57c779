import numpy as np
import onnx
import pytest
from act.compiler.passes.separate_bias import separate_biases
from act.compiler.passes.shapes import infer_shapes
from onnx import helper

from . import onnx_networks as networks
from .onnx_networks import model_of, random


def separated(model, image):
    found = onnx.ModelProto.FromString(model.SerializeToString())
    infer_shapes(found)
    count = separate_biases(found)
    onnx.checker.check_model(found)
    np.testing.assert_allclose(networks.run(found, image), networks.run(model, image), rtol=1e-4, atol=1e-5)
    return networks.operators(found), count


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("scales", [{}, {"alpha": 0.5, "beta": -2.0}])
@pytest.mark.parametrize("bias", [None, (6,), (1, 6), ()])
def test_a_linear_layer_is_a_product_and_a_sum(transposed, scales, bias):
    weights = {"w": random(*((6, 5) if transposed else (5, 6)))}
    if bias is not None:
        weights["b"] = random(*bias)
    node = helper.make_node("Gemm", ["input", *weights], ["output"], name="fc", transB=transposed, **scales)
    model = model_of([node], weights, inputs=[networks.value("input", [3, 5])])
    operators, count = separated(model, random(3, 5, seed=4))
    assert (operators, count) == (["MatMul", "Add"] if bias is not None else ["MatMul"], 1)


def test_the_bias_of_a_convolution_is_a_sum():
    node = helper.make_node("Conv", ["input", "w", "b"], ["output"], name="c", pads=[1] * 4, strides=[2, 1])
    model = model_of([node], {"w": random(4, 3, 3, 3), "b": random(4)}, inputs=[networks.value("input", [1, 3, 8, 8])])
    assert separated(model, random(1, 3, 8, 8, seed=4)) == (["Conv", "Add"], 1)


def test_products_of_two_values_stay():
    node = helper.make_node("Gemm", ["input", "w"], ["output"], transA=1)
    model = model_of([node], {"w": random(3, 4)}, inputs=[networks.value("input", [3, 5])])
    assert separated(model, random(3, 5)) == (["Gemm"], 0)
