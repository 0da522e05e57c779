import numpy as np
from act.compiler.importer import import_onnx
from act.compiler.nonnegative import find_nonnegative
from onnx import helper
from tvm import relax

from .onnx_networks import model_of, random, save

SCALARS = {"zero": 0, "below": -1, "six": 6, "one": 1}


def test_what_comes_out_of_a_relu_stays_nonnegative_until_something_may_change_its_sign(tmp_path):
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Clip", ["a", "zero", "six"], ["c"]),
        helper.make_node("Concat", ["b", "c"], ["d"], axis=1),
        helper.make_node("MaxPool", ["d"], ["e"], kernel_shape=[2, 2]),
        helper.make_node("Sub", ["e", "one"], ["f"]),
        helper.make_node("Clip", ["f", "below", "six"], ["output"]),
    ]
    weights = {"w": random(2, 3, 3, 3), **{name: np.float32(value) for name, value in SCALARS.items()}}
    path = save(model_of(nodes, weights), tmp_path / "network.onnx")
    module = relax.transform.CanonicalizeBindings()(import_onnx(path).relax_module)
    found = find_nonnegative(module)
    calls = [b for block in module["main"].body.blocks for b in block.bindings if isinstance(b.value, relax.Call)]
    names = sorted(b.value.op.name.split(".")[-1] for b in calls if b.var in found)
    assert names == ["concat", "max_pool2d", "maximum", "minimum", "relu"]  # a clip is a maximum and a minimum
