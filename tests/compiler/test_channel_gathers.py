import numpy as np
import onnx
import pytest
from act.compiler.passes.channel_gathers import simplify_channel_gathers
from act.compiler.passes.shapes import infer_shapes
from onnx import helper

from . import onnx_networks as networks
from .kernel_check import compile_model, verified_error
from .onnx_networks import model_of, random

IMAGE = random(2, 6, 4, 4, seed=5)
INPUT = [networks.value("input", [2, 6, 4, 4])]


def shuffle(source, result):
    nodes = [
        helper.make_node("Reshape", [source, "spread"], [f"{result}.5d"]),
        helper.make_node("Transpose", [f"{result}.5d"], [f"{result}.t"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", [f"{result}.t", "flat"], [result], name="shuffle"),
    ]
    return nodes, {"spread": np.array([0, 2, 3, 4, 4]), "flat": np.array([0, 6, 4, 4])}


def simplified(nodes, weights):
    model = model_of(nodes, weights, inputs=INPUT)
    found = onnx.ModelProto.FromString(model.SerializeToString())
    infer_shapes(found)
    simplify_channel_gathers(found)
    onnx.checker.check_model(found)
    np.testing.assert_allclose(networks.run(found, IMAGE), networks.run(model, IMAGE), rtol=1e-4, atol=1e-5)
    return found


def gather(table, source="input", result="output"):
    return helper.make_node("Gather", [source, table], [result], axis=1)


def test_a_shuffle_is_one_gather():
    nodes, weights = shuffle("input", "output")
    (node,) = simplified(nodes, weights).graph.node
    assert (node.op_type, node.name) == ("Gather", "shuffle")


def test_halves_of_a_shuffle_gather_their_own_channels():
    nodes, weights = shuffle("input", "s")
    nodes += [
        helper.make_node("Split", ["s"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Mul", ["a", "b"], ["output"]),
    ]
    found = simplified(nodes, weights)
    assert networks.operators(found) == ["Gather", "Gather", "Mul"]


def test_a_slice_of_a_gather_and_a_gather_that_is_a_slice():
    bounds = {"starts": np.array([1]), "ends": np.array([-1]), "axes": np.array([1]), "steps": np.array([2])}
    nodes = [gather("table", result="g"), helper.make_node("Slice", ["g", *bounds], ["output"])]
    assert networks.operators(simplified(nodes, {"table": np.array([5, -2, 0, 3, 1]), **bounds})) == ["Gather"]
    assert networks.operators(simplified([gather("table")], {"table": np.array([2, 3, -2])})) == ["Slice"]


def test_files_before_slices_had_inputs_are_left_alone():
    nodes = [
        gather("table", result="g"),
        helper.make_node("Slice", ["g"], ["output"], axes=[1], starts=[0], ends=[2]),
    ]
    model = model_of(
        nodes, {"table": np.array([1, 2, 3])}, inputs=INPUT, outputs=[networks.value("output", [2, 2, 4, 4])]
    )
    model.opset_import[0].version = 9
    infer_shapes(model)
    simplify_channel_gathers(model)
    onnx.checker.check_model(model)
    assert networks.operators(model) == ["Gather", "Slice"]


def test_a_permutation_moves_into_the_convolution_that_reads_it():
    conv = helper.make_node("Conv", ["g", "w"], ["output"], pads=[1] * 4)
    weights = {"table": np.array([5, 0, 4, 1, 3, 2]), "w": random(4, 6, 3, 3)}
    assert networks.operators(simplified([gather("table", result="g"), conv], weights)) == ["Conv"]
    grouped = helper.make_node("Conv", ["g", "w"], ["output"], group=2)
    kept = simplified([gather("table", result="g"), grouped], {**weights, "w": random(4, 3, 1, 1)})
    assert networks.operators(kept) == ["Gather", "Conv"]


def test_tables_of_other_axes_become_narrow():
    found = simplified(
        [helper.make_node("Gather", ["input", "table"], ["output"], axis=3)], {"table": np.array([3, -4])}
    )
    assert found.graph.initializer[0].data_type == onnx.TensorProto.INT32


def test_a_gather_of_everything_is_a_reshape():
    nodes = [
        helper.make_node("Reshape", ["input", "flat"], ["r"]),
        helper.make_node("Gather", ["r", "table"], ["output"], axis=0),
    ]
    found = simplified(nodes, {"flat": np.array([-1]), "table": np.arange(192).reshape(2, 96)})
    assert networks.operators(found) == ["Reshape", "Reshape"]


@pytest.mark.opencl
@pytest.mark.parametrize("target", ["host-opencl", "adreno640"])
def test_a_shuffled_unit_copies_each_half_once(target, tmp_path):
    """A ShuffleNet unit: what passes by is gathered straight into the next concatenation."""
    nodes, weights = shuffle("input", "s")
    nodes = [helper.make_node("Relu", ["input"], ["r"]), *shuffle("r", "s")[0]]
    nodes += [
        helper.make_node("Split", ["s"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Conv", ["b", "w"], ["c"], pads=[1] * 4),
        helper.make_node("Concat", ["a", "c"], ["d"], axis=1),
        helper.make_node("Relu", ["d"], ["output"]),
    ]
    model = model_of(nodes, {**weights, "w": random(3, 3, 3, 3)}, inputs=[networks.value("input", ["n", 6, 4, 4])])
    steps = compile_model(model, tmp_path, target=target).steps
    assert len(steps) == 5  # relu, two gathers, convolution, relu
    assert verified_error(model, tmp_path, target=target, batch=2) < 1e-5
