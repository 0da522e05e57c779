"""Batch norms fold into the convolution before them where that is exact."""

import numpy as np
import pytest
from act.compiler.passes.fold_batch_norm import fold_batch_norm
from onnx import helper

from . import onnx_networks as networks

NORM = ["gamma", "beta", "mean", "var"]


def norm_weights():
    values = {name: networks.random(4, seed=seed) for seed, name in enumerate(NORM)}
    return values | {"var": np.abs(values["var"]) + 0.1}


def conv_norm(bias=True, group=1, extra=()):
    weights = norm_weights() | {"w": networks.random(4, 4 // group, 3, 3)}
    inputs = ["input", "w"]
    if bias:
        weights["b"] = networks.random(4, seed=9)
        inputs.append("b")
    nodes = [
        helper.make_node("Conv", inputs, ["c"], group=group),
        helper.make_node("BatchNormalization", ["c", *NORM], ["n"], epsilon=1e-3),
        *(extra or [helper.make_node("Relu", ["n"], ["output"])]),
    ]
    return networks.model_of(nodes, weights, inputs=[networks.value("input", [1, 4, 8, 8])])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("group", [1, 4])
def test_folded_equals_the_original(bias, group):
    model = conv_norm(bias, group)
    image = networks.random(1, 4, 8, 8, seed=5)
    expected = networks.run(model, image)
    assert fold_batch_norm(model) == 1
    assert networks.operators(model) == ["Conv", "Relu"]
    np.testing.assert_allclose(networks.run(model, image), expected, rtol=1e-4, atol=1e-5)


def test_a_convolution_read_twice_is_not_folded():
    model = conv_norm(extra=[helper.make_node("Add", ["n", "c"], ["output"])])
    assert fold_batch_norm(model) == 0
    assert "BatchNormalization" in networks.operators(model)


def test_a_batch_norm_behind_nothing_stays():
    nodes = [helper.make_node("BatchNormalization", ["input", *NORM], ["output"])]
    model = networks.model_of(nodes, norm_weights(), inputs=[networks.value("input", [1, 4, 8, 8])])
    assert fold_batch_norm(model) == 0
