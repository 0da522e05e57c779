import dataclasses

import numpy as np
import tvm
from act.compiler.importer import import_onnx
from act.compiler.legalize.legalizer import Legalizer, weight_key
from act.compiler.lower import lower
from act.compiler.memory.activation_layouts import find_layouts
from act.compiler.targets import get_target
from onnx import helper
from tvm import relax

from ..onnx_networks import model_of, random, save
from ..schedules.test_linear import classifier

TARGET = get_target("adreno640")


def legalized(tmp_path, nodes, weights, names=None):
    passes = relax.transform
    module = import_onnx(save(model_of(nodes, weights), tmp_path / "network.onnx")).relax_module
    module = tvm.ir.transform.Sequential([passes.CanonicalizeBindings(), passes.FoldConstant()])(module)
    legalizer = Legalizer(
        target=TARGET, layouts=find_layouts(module, TARGET), names=names or {}, inputs=frozenset({"input"})
    )
    return passes.LegalizeOps(legalizer.table())(module), legalizer.layers


def called(module):
    """Names of the functions that main calls, in order."""
    bindings = [binding for block in module["main"].body.blocks for binding in block.bindings]
    calls = [binding.value for binding in bindings if isinstance(binding.value, relax.Call)]
    return [call.args[0].name_hint if call.op.name == "relax.call_tir" else call.op.name for call in calls]


def conv(**attributes):
    return helper.make_node("Conv", ["input", "w"], ["c"], name="conv", **attributes)


def test_layers_keep_shape_choice_and_name(tmp_path):
    weight = random(4, 3, 3, 3)
    nodes = [conv(pads=[1, 2, 0, 1], strides=[2, 1]), helper.make_node("Relu", ["c"], ["output"])]
    _, (layer,) = legalized(tmp_path, nodes, {"w": weight}, {weight_key(weight): ["stem"]})
    shape = layer.shape
    assert (layer.kind, shape.name, shape.kind) == ("conv", "stem", "conv")
    assert (shape.kernel, shape.stride, shape.padding) == ((3, 3), (2, 1), (1, 2))
    assert (shape.columns, shape.output_hw) == (27, (4, 9))
    assert layer.macs == shape.macs == 4 * 27 * 36


def test_a_convolution_reads_a_copy_of_the_input_and_nothing_else(tmp_path):
    nodes = [conv(pads=[1] * 4), helper.make_node("Conv", ["c", "v"], ["output"], pads=[1] * 4)]
    module, _ = legalized(tmp_path, nodes, {"w": random(4, 3, 3, 3), "v": random(4, 4, 3, 3)})
    assert called(module) == ["copy", "conv", "conv1"]


def test_zero_columns_become_a_column_convolution_where_it_pays(tmp_path):
    weight = random(64, 3, 3, 3)
    weight.reshape(64, 27)[:, np.arange(27) % 4 != 0] = 0
    module, (layer,) = legalized(tmp_path, [conv(), helper.make_node("Relu", ["c"], ["output"])], {"w": weight})
    assert (layer.shape.columns, layer.shape.read_channels, layer.shape.blocks) == (7, 3, None)
    assert ("column_conv" in called(module)) == (layer.choice.lowering == "column")
    assert layer.macs == 64 * 36 * (7 if layer.choice.lowering == "column" else 27)


def test_depthwise_and_linear_layers_are_told_apart(tmp_path):
    nodes = [
        conv(group=3),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("Gemm", ["f", "g"], ["output"], transB=1),
    ]
    module, layers = legalized(tmp_path, nodes, {"w": random(6, 1, 3, 3), "g": random(5, 216)})
    assert [layer.shape.kind for layer in layers] == ["depthwise", "linear"]
    assert layers[1].shape.c_in == 216
    assert any(name in ("relax.reshape", "relax.flatten") for name in called(module))  # a view, no kernel


def test_the_key_of_a_weight_does_not_depend_on_its_layout():
    weight = random(4, 6)
    assert weight_key(weight) == weight_key(weight.T) == weight_key(weight.reshape(2, 12))
    assert weight_key(weight) != weight_key(weight + np.float32(1))


def test_a_linear_weight_beyond_the_largest_buffer_is_split(tmp_path):
    small = dataclasses.replace(get_target("host-opencl"), max_buffer_bytes=100_000)
    module = import_onnx(save(classifier(256), tmp_path / "network.onnx"), batch=1).relax_module
    network = lower(module, small, names={})
    linear = [step for step in network.steps if step.layer is not None and step.layer.kind == "linear"]
    assert len(linear) > 1
    assert sum(step.layer.shape.c_out for step in linear) == 256
    weights = {tensor for step in network.steps for tensor in step.arguments if tensor.data is not None}
    assert max(tensor.data.nbytes for tensor in weights) <= 100_000
