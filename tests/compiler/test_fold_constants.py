"""What depends on constants and static shapes is computed at import."""

import numpy as np
from act.compiler.passes.fold_constants import fold_constants as fold_in_place
from act.compiler.passes.shapes import static_shapes
from onnx import helper

from . import onnx_networks as networks


def fold_constants(model):
    copy = type(model).FromString(model.SerializeToString())
    fold_in_place(copy)
    return copy


def flatten_by_arithmetic(batch):
    """Shape -> Gather -> Unsqueeze -> Concat -> Reshape, as exporters write a flatten."""
    nodes = [
        helper.make_node("Constant", [], ["zero"], value_int=0),
        helper.make_node("Shape", ["input"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["size"]),
        helper.make_node("Unsqueeze", ["size", "axis"], ["sizes"]),
        helper.make_node("Concat", ["sizes", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["input", "target"], ["output"]),
    ]
    weights = {"axis": np.array([0]), "rest": np.array([-1])}
    return networks.model_of(nodes, weights, inputs=[networks.value("input", [batch, 3, 8, 8])])


def test_reshape_target_becomes_a_constant():
    model = fold_constants(flatten_by_arithmetic(2))
    assert networks.operators(model) == ["Reshape"]
    assert static_shapes(model)["output"] == (2, 192)
    image = networks.random(2, 3, 8, 8)
    np.testing.assert_array_equal(networks.run(model, image), image.reshape(2, -1))


def test_an_open_batch_stays_open():
    model = fold_constants(flatten_by_arithmetic("batch"))
    assert "Shape" in networks.operators(model)
    assert "output" not in static_shapes(model)


def test_weights_made_by_operators_are_folded():
    nodes = [
        helper.make_node("Transpose", ["wt"], ["w"], perm=[3, 2, 0, 1]),
        helper.make_node("Conv", ["input", "w"], ["output"]),
    ]
    weights = {"wt": networks.random(3, 3, 3, 4)}
    model = networks.model_of(nodes, weights, inputs=[networks.value("input", [1, 3, 8, 8])])
    image = networks.random(1, 3, 8, 8, seed=3)
    expected = networks.run(model, image)
    folded = fold_constants(model)
    assert networks.operators(folded) == ["Conv"]
    assert [t.name for t in folded.graph.initializer] == ["w"]
    np.testing.assert_allclose(networks.run(folded, image), expected, rtol=1e-6)


def test_a_huge_constant_is_not_allocated():
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["total"], keepdims=0),
        helper.make_node("Add", ["input", "total"], ["output"]),
    ]
    model = networks.model_of(nodes, {"size": np.array([1 << 40])}, inputs=[networks.value("input", [1, 3, 8, 8])])
    assert "ConstantOfShape" in networks.operators(fold_constants(model))


def test_what_depends_on_the_input_stays():
    model = fold_constants(networks.conv_model())
    assert networks.operators(model) == ["Conv", "Relu"]
