import numpy as np
import onnx
import pytest
from act.compiler.passes.batch_norm_arithmetic import write_batch_norms_as_arithmetic
from act.compiler.passes.shapes import infer_shapes
from onnx import helper

from . import onnx_networks as networks
from .onnx_networks import model_of, random

PARAMETERS = ("gamma", "beta", "mean", "variance")


def batch_norm(shape):
    weights = {name: random(shape[1], seed=index) for index, name in enumerate(PARAMETERS)}
    weights["variance"] = np.abs(weights["variance"]) + np.float32(0.1)
    node = helper.make_node("BatchNormalization", ["input", *PARAMETERS], ["output"], name="bn", epsilon=1e-3)
    return model_of([node], weights, inputs=[networks.value("input", shape)])


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3)])
def test_a_batch_norm_is_a_product_and_a_sum(shape):
    model = batch_norm(shape)
    found = onnx.ModelProto.FromString(model.SerializeToString())
    infer_shapes(found)
    assert write_batch_norms_as_arithmetic(found) == 1
    assert networks.operators(found) == ["Mul", "Add"]
    assert len(found.graph.initializer) == 2
    image = random(*shape, seed=9)
    np.testing.assert_allclose(networks.run(found, image), networks.run(model, image), rtol=1e-5, atol=1e-6)


def test_a_network_without_one_is_left_alone():
    model = networks.conv_model()
    infer_shapes(model)
    assert write_batch_norms_as_arithmetic(model) == 0
