"""Operators that the compiler does not take are refused by name, before TVM sees them."""

import pytest
from act.compiler.errors import UnsupportedOpError
from act.compiler.operators import check_operators
from act.compiler.passes.shapes import infer_shapes
from onnx import helper

from . import onnx_networks as networks


def model_with(*nodes, weights=None):
    return networks.model_of(list(nodes), weights or {})


def test_a_plain_network_passes():
    model = networks.conv_model(inputs=[networks.value("input", [1, 3, 8, 8])])
    infer_shapes(model)
    check_operators(model)


def test_unsupported_operators_are_named_with_their_nodes_and_the_supported_ones():
    model = model_with(
        helper.make_node("Einsum", ["input"], ["e"], name="mix", equation="nchw->nhwc"),
        helper.make_node("Det", ["e"], ["output"]),
    )
    with pytest.raises(UnsupportedOpError, match="'Einsum' \\(node 'mix'\\)") as caught:
        check_operators(model)
    assert "'Det' (node 'output')" in str(caught.value)
    assert "supported: Abs, Add, AveragePool" in str(caught.value)


def test_an_operator_of_another_domain_is_named_with_it():
    node = helper.make_node("Conv", ["input"], ["output"], domain="com.example")
    with pytest.raises(UnsupportedOpError, match=r"'com\.example\.Conv'"):
        check_operators(networks.model_of([node], {}, outputs=[networks.value("output", [1])], domains=["com.example"]))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (helper.make_node("Conv", ["input", "input"], ["output"], name="c"), "Conv 'c': the weight must be a constant"),
        (helper.make_node("Gemm", ["input", "input"], ["output"], name="g"), "Gemm 'g': the second input"),
        (helper.make_node("MaxPool", ["input"], ["output", "i"], kernel_shape=[2, 2]), "only the first output"),
        (helper.make_node("Conv", ["input", "w"], ["output"], kernel_shape=[3, 3, 3]), "only 2-D"),
    ],
)
def test_forms_that_are_not_supported_give_the_reason(node, message):
    with pytest.raises(UnsupportedOpError, match=message):
        check_operators(model_with(node, weights={"w": networks.random(4, 3, 3, 3)}))
