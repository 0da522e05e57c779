"""Shape inference leaves large weights where they are and finds the same shapes."""

import onnx
import pytest
from act.compiler.passes.shapes import infer_shapes, static_shapes
from onnx import helper

from . import onnx_networks as networks


def test_shapes_of_all_values_are_found_and_weights_untouched():
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("Gemm", ["f", "fc"], ["output"]),
    ]
    weights = {"w": networks.random(32, 3, 5, 5), "fc": networks.random(512, 3)}
    model = networks.model_of(nodes, weights, inputs=[networks.value("input", [1, 3, 8, 8])])
    infer_shapes(model)
    shapes = static_shapes(model)
    assert (shapes["c"], shapes["f"], shapes["output"]) == ((1, 32, 4, 4), (1, 512), (1, 3))
    assert [value.name for value in model.graph.input] == ["input"]
    assert {tensor.name for tensor in model.graph.initializer} == {"w", "fc"}


def test_large_weights_listed_as_inputs_are_declared_once():
    weights = {"w": networks.random(64, 3, 3, 3)}
    inputs = [networks.value("input", [1, 3, 8, 8]), networks.value("w", [64, 3, 3, 3])]
    model = networks.model_of([helper.make_node("Conv", ["input", "w"], ["output"])], weights, inputs=inputs)
    infer_shapes(model)
    assert static_shapes(model)["output"] == (1, 64, 6, 6)


def test_contradicting_shapes_raise():
    outputs = [networks.value("output", [1, 3])]
    nodes = [helper.make_node("MatMul", ["input", "w"], ["output"])]
    inputs = [networks.value("input", [1, 5])]
    model = networks.model_of(nodes, {"w": networks.random(700, 3)}, inputs=inputs, outputs=outputs)
    with pytest.raises(onnx.shape_inference.InferenceError):
        infer_shapes(model)
