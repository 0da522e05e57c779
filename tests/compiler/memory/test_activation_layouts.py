import numpy as np
from act.compiler.importer import import_onnx
from act.compiler.memory.activation_layouts import find_layouts
from act.compiler.memory.layout import SLACK_ELEMENTS
from act.compiler.targets import get_target
from onnx import helper
from tvm import relax

from ..onnx_networks import model_of, random, save


def layouts(tmp_path, *nodes, **weights):
    path = save(model_of(list(nodes), weights), tmp_path / "network.onnx")
    module = relax.transform.CanonicalizeBindings()(import_onnx(path).relax_module)
    return find_layouts(module, get_target("host-opencl"))


def conv(source, weight, result, **attributes):
    return helper.make_node("Conv", [source, weight], [result], **attributes)


def test_the_largest_padding_of_all_readers_is_the_halo(tmp_path):
    found = layouts(
        tmp_path,
        helper.make_node("Relu", ["input"], ["x"]),
        conv("x", "w", "a", pads=[1, 1, 1, 1]),
        conv("x", "v", "b", pads=[0, 3, 2, 0]),
        helper.make_node("GlobalAveragePool", ["a"], ["c"]),
        helper.make_node("GlobalAveragePool", ["b"], ["d"]),
        helper.make_node("Add", ["c", "d"], ["output"]),
        w=random(2, 3, 3, 3),
        v=random(2, 3, 3, 3),
    )
    assert found.of((1, 3, 8, 8)).halo == (2, 3)
    assert found.of((1, 2, 5, 5)).is_plain
    assert found.of((1, 2, 5, 5)).slack == SLACK_ELEMENTS


def test_results_get_rows_of_whole_vectors_unless_a_view_reads_them(tmp_path):
    nodes = [conv("input", "w", "a", pads=[0, 0, 0, 0]), helper.make_node("Relu", ["a"], ["b"])]
    found = layouts(tmp_path, *nodes, helper.make_node("GlobalMaxPool", ["b"], ["output"]), w=random(4, 3, 3, 3))
    assert found.of((1, 4, 6, 6)).pitch == 8
    found = layouts(
        tmp_path,
        *nodes,
        helper.make_node("Reshape", ["b", "shape"], ["output"]),
        w=random(4, 3, 3, 3),
        shape=np.array([0, -1]),
    )
    assert found.of((1, 4, 6, 6)).is_plain


def test_rows_are_aligned_for_vulkan_alone(tmp_path):
    nodes = [conv("input", "w", "a", pads=[1, 1, 1, 1]), conv("a", "v", "output", pads=[1, 1, 1, 1])]
    path = save(model_of(nodes, {"w": random(4, 3, 3, 3), "v": random(4, 4, 3, 3)}), tmp_path / "network.onnx")
    module = relax.transform.CanonicalizeBindings()(import_onnx(path).relax_module)
    pitches = [
        find_layouts(module, get_target(name)).of((1, 4, 8, 8)).pitch for name in ("adreno640", "adreno640-vulkan")
    ]
    assert pitches == [9, 12]
