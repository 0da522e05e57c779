import numpy as np
import onnx
import pytest
from act.compiler.column_blocks import find_blocks
from act.compiler.passes.group_channels import group_channels
from act.compiler.passes.shapes import infer_shapes
from act.compiler.zero_columns import kept_columns
from onnx import numpy_helper

from . import onnx_networks as networks
from .onnx_networks import model_of, random
from .test_drop_channels import IMAGE, INPUT, conv, node, weights_of

SIZES = {"a": (16, 3, 3), "b": (8, 16, 3)}


def grouped(nodes, weights):
    """Blocks of layer b before and after, once both models were seen to be equal."""
    model = model_of(nodes, weights, inputs=INPUT)
    found = onnx.ModelProto.FromString(model.SerializeToString())
    infer_shapes(found)
    changed = group_channels(found)
    onnx.checker.check_model(found)
    np.testing.assert_allclose(networks.run(found, IMAGE), networks.run(model, IMAGE), rtol=1e-4, atol=1e-4)
    return changed, blocks(model), blocks(found)


def blocks(model):
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weight = next(arrays[node.input[1]] for node in model.graph.node if node.name == "b")
    return len(find_blocks(kept_columns(weight), weight.shape[1], weight.shape[2] * weight.shape[3]))


def chain():
    return [conv("input", "a", pads=[1] * 4), node("Relu", "a", "x"), conv("x", "b"), node("Relu", "b", "output")]


def test_like_patterns_become_whole_blocks():
    weights = weights_of(SIZES)
    for channel in range(16):  # four patterns of three positions, dealt out in turn
        for position in range(9):
            if position % 4 != channel % 4:
                weights["b.w"][:, channel, position // 3, position % 3] = 0
    changed, before, after = grouped(chain(), weights)
    assert (changed, before, after) == (2, 4 * 9, 9)


@pytest.mark.parametrize("seed", range(3))
def test_random_patterns_need_fewer_blocks(seed):
    weights = weights_of(SIZES)
    removed = np.random.default_rng(seed).random((16, 3, 3)) < 0.6
    weights["b.w"][:, removed] = 0
    changed, before, after = grouped(chain(), weights)
    assert after < before
    assert changed == 2


def test_what_cannot_get_better_stays():
    weights = weights_of(SIZES)
    assert grouped(chain(), weights)[0] == 0
    weights["b.w"][:, 4:] = 0
    changed, before, after = grouped(chain(), weights)
    assert (changed, before, after) == (0, 9, 9)


def test_depthwise_convolutions_follow():
    nodes = [conv("input", "a", pads=[1] * 4), conv("a", "d", group=16), conv("d", "b"), node("Relu", "b", "output")]
    weights = weights_of({"a": (16, 3, 3), "d": (16, 1, 3), "b": (8, 16, 1)}, b_w=np.s_[:, ::2])
    assert grouped(nodes, weights) == (3, 4, 2)


def test_several_readers_share_one_order():
    nodes = [*chain()[:3], conv("x", "c"), node("Add", "b", "c", "output")]
    weights = weights_of({**SIZES, "c": (8, 16, 3)}, b_w=np.s_[:, ::2], c_w=np.s_[:, ::2])
    weights["c.w"] = random(8, 16, 3, 3, seed=9) * (weights["c.w"] != 0)
    changed, before, after = grouped(nodes, weights)
    assert (changed, after) == (3, 18)
    assert before > after
