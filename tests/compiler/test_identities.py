import numpy as np
import onnx
import pytest
from act.compiler.passes.identities import drop_identities
from act.compiler.passes.shapes import infer_shapes
from onnx import helper

from . import onnx_networks as networks
from .onnx_networks import model_of, random

WEIGHTS = {
    "same": np.array([2, 3, 8, -1]),
    "pads": np.zeros(8, np.int64),
    "shift": np.array([0, 0, 1, 0, 0, 0, -1, 0]),
    "sizes": np.array([1, 3, 1, 1]),
}
NODES = {
    "identity": helper.make_node("Identity", ["a"], ["b"]),
    "dropout": helper.make_node("Dropout", ["a"], ["b"]),
    "pool": helper.make_node("AveragePool", ["a"], ["b"], kernel_shape=[1, 1], strides=[1, 1]),
    "reshape": helper.make_node("Reshape", ["a", "same"], ["b"]),
    "pad": helper.make_node("Pad", ["a", "pads"], ["b"]),
    "transpose": helper.make_node("Transpose", ["a"], ["b"], perm=[0, 1, 2, 3]),
    "expand": helper.make_node("Expand", ["a", "sizes"], ["b"]),
    "concat": helper.make_node("Concat", ["a"], ["b"], axis=1),
}
KEPT = {
    "pool": helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[3, 3], pads=[1] * 4),
    "pad": helper.make_node("Pad", ["a", "shift"], ["b"]),
    "transpose": helper.make_node("Transpose", ["a"], ["b"], perm=[0, 1, 3, 2]),
}


def dropped(node):
    nodes = [helper.make_node("Relu", ["input"], ["a"]), node, helper.make_node("Neg", ["b"], ["output"])]
    names = set(node.input)
    weights = {name: value for name, value in WEIGHTS.items() if name in names}
    model = model_of(nodes, weights, inputs=[networks.value("input", [2, 3, 8, 8])])
    found = onnx.ModelProto.FromString(model.SerializeToString())
    infer_shapes(found)
    count = drop_identities(found)
    onnx.checker.check_model(found)
    image = random(2, 3, 8, 8)
    np.testing.assert_array_equal(networks.run(found, image), networks.run(model, image))
    return networks.operators(found), count


@pytest.mark.parametrize("name", NODES)
def test_operators_that_change_nothing_are_dropped(name):
    assert dropped(NODES[name]) == (["Relu", "Neg"], 1)


@pytest.mark.parametrize("name", KEPT)
def test_others_of_the_same_shape_stay(name):
    assert dropped(KEPT[name])[1] == 0


def test_outputs_keep_their_names():
    model = model_of([helper.make_node("Identity", ["input"], ["output"])], {})
    infer_shapes(model)
    assert drop_identities(model) == 0
