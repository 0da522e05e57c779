import numpy as np
import onnx
import pytest
from act.compiler.passes.drop_channels import drop_channels
from act.compiler.passes.shapes import infer_shapes
from onnx import helper, numpy_helper

from . import onnx_networks as networks
from .onnx_networks import model_of, random

IMAGE = random(1, 3, 8, 8, seed=5)
INPUT = [networks.value("input", [1, 3, 8, 8])]


def conv(source, result, **attributes):
    return helper.make_node("Conv", [source, f"{result}.w", f"{result}.b"], [result], name=result, **attributes)


def node(kind, *names, **attributes):
    *sources, result = names
    return helper.make_node(kind, sources, [result], **attributes)


def weights_of(sizes, **changed):
    """Random weights and biases by layer: ``(filters, channels, kernel)``."""
    found = {}
    for name, (filters, channels, kernel) in sizes.items():
        found[f"{name}.w"] = random(filters, channels, kernel, kernel, seed=len(found))
        found[f"{name}.b"] = random(filters, seed=len(found))
    for name, value in changed.items():
        found[name.replace("_", ".")][value] = 0
    return found


def dropped(nodes, weights):
    """The rewritten model's weight shapes by layer, once both were seen to be equal."""
    model = model_of(nodes, weights, inputs=INPUT)
    found = onnx.ModelProto.FromString(model.SerializeToString())
    infer_shapes(found)
    drop_channels(found)
    infer_shapes(found)
    onnx.checker.check_model(found)
    np.testing.assert_allclose(networks.run(found, IMAGE), networks.run(model, IMAGE), rtol=1e-4, atol=1e-4)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.graph.initializer}
    return {node.name: arrays[node.input[1]].shape[:2] for node in found.graph.node if node.op_type == "Conv"}


CHAIN = {"a": (8, 3, 3), "b": (6, 8, 3), "c": (4, 6, 1)}


def chain(kind="Relu"):
    return [
        conv("input", "a", pads=[1] * 4),
        node(kind, "a", "x"),
        conv("x", "b", pads=[1] * 4),
        conv("b", "c"),
        node("Relu", "c", "output"),
    ]


def test_channels_that_nobody_reads_go_with_their_filters():
    weights = weights_of(CHAIN, b_w=np.s_[:, [1, 2, 7]])
    assert dropped(chain("Sigmoid"), weights) == {"a": (5, 3), "b": (6, 5), "c": (4, 6)}


def test_zero_filters_go_where_zero_stays_zero():
    weights = weights_of(CHAIN, a_w=[0, 3], a_b=[0, 3])
    assert dropped(chain("Relu"), weights) == {"a": (6, 3), "b": (6, 6), "c": (4, 6)}
    assert dropped(chain("Sigmoid"), weights) == {"a": (8, 3), "b": (6, 8), "c": (4, 6)}


def test_a_filter_with_a_bias_is_no_zero_filter():
    assert dropped(chain(), weights_of(CHAIN, a_w=[0, 3], a_b=[3]))["a"] == (7, 3)


def test_one_channel_stays():
    assert dropped(chain(), weights_of(CHAIN, c_w=np.s_[:])) == {"a": (8, 3), "b": (1, 8), "c": (4, 1)}


def test_what_goes_leaves_earlier_channels_unread():
    weights = weights_of(CHAIN, c_w=np.s_[:, 4:], b_w=np.s_[:4, 5:])
    assert dropped(chain(), weights) == {"a": (5, 3), "b": (4, 5), "c": (4, 4)}


def test_an_addition_and_a_depthwise_convolution_are_of_one_class():
    nodes = [
        conv("input", "a", pads=[1] * 4),
        conv("a", "d", pads=[1] * 4, group=8),
        conv("a", "e", pads=[1] * 4),
        node("Add", "d", "e", "s"),
        node("Clip", "s", "low", "high", "r"),
        conv("r", "f"),
        node("Relu", "f", "output"),
    ]
    sizes = {"a": (8, 3, 3), "d": (8, 1, 3), "e": (8, 8, 3), "f": (4, 8, 1)}
    weights = weights_of(sizes, f_w=np.s_[:, [0, 1]], e_w=np.s_[:, [1, 2]])
    limits = {"low": np.float32(0), "high": np.float32(6)}
    assert dropped(nodes, {**weights, **limits}) == {"a": (7, 3), "d": (7, 1), "e": (7, 7), "f": (4, 7)}


@pytest.mark.parametrize("last", ["Concat", "output"])
def test_channels_that_others_see_stay(last):
    nodes = [conv("input", "a", pads=[1] * 4), conv("a", "b", pads=[1] * 4)]
    nodes.append(node("Concat", "a", "b", "output", axis=1) if last == "Concat" else node("Add", "a", "b", "output"))
    weights = weights_of({"a": (8, 3, 3), "b": (8, 8, 3)}, b_w=np.s_[:, [1, 2]], a_w=[4], a_b=[4])
    assert dropped(nodes, weights) == {"a": (8, 3), "b": (8, 8)}
