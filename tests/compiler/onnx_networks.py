"""Small ONNX files for the compiler's tests, built without torch."""

from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

OPSET = 18


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes, weights, *, inputs=None, outputs=None, functions=(), domains=(), metadata=None):
    """A checked model; weights by name, inputs and outputs default to one NCHW image and one unknown shape."""
    graph = helper.make_graph(
        nodes,
        "network",
        inputs or [value("input", ["batch", 3, 8, 8])],
        outputs or [value("output", None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions))
    helper.set_model_props(model, metadata or {})
    return model if outputs else _with_output_shape(model)


def _with_output_shape(model):
    """The inferred output shape, or an open one of rank 4 where inference does not know."""
    output = onnx.shape_inference.infer_shapes(model).graph.output[0]
    if not output.type.tensor_type.HasField("shape"):
        output = value("output", [None] * 4)
    del model.graph.output[:]
    model.graph.output.append(output)
    return model


def save(model, path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def conv_model(**kwargs):
    """conv 3 -> 4 with bias and relu."""
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["output"], name="relu"),
    ]
    return model_of(nodes, {"w": random(4, 3, 3, 3), "b": random(4)}, **kwargs)


def _attribute_of_function(node, name):
    node.attribute.append(AttributeProto(name=name, ref_attr_name=name, type=AttributeProto.INTS))
    return node


def column_conv_function():
    """The model-local function that the toolchain's export writes: scatter the packed weight, then Conv."""
    conv = helper.make_node("Conv", ["X", "dense", "B"], ["Y"])
    for attribute in ("kernel_shape", "pads", "strides", "dilations"):
        _attribute_of_function(conv, attribute)
    constant = helper.make_node
    nodes = [
        _attribute_of_function(constant("Constant", [], ["shape_m"]), "value_ints"),
        helper.make_node("ConstantOfShape", ["shape_m"], ["zeros32"]),
        helper.make_node("CastLike", ["zeros32", "W"], ["zeros"]),
        helper.make_node("Shape", ["W"], ["packed_shape"]),
        helper.make_node("Expand", ["columns", "packed_shape"], ["index"]),
        helper.make_node("ScatterElements", ["zeros", "index", "W"], ["matrix"], axis=1),
        _attribute_of_function(constant("Constant", [], ["shape_w"]), "value_ints"),
        helper.make_node("Reshape", ["matrix", "shape_w"], ["dense"]),
        conv,
    ]
    nodes[0].attribute[0].ref_attr_name = "matrix_shape"
    nodes[6].attribute[0].ref_attr_name = "weight_shape"
    names = ["kernel_shape", "pads", "strides", "dilations", "matrix_shape", "weight_shape"]
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_function("act", "ColumnConv", ["X", "W", "columns", "B"], ["Y"], nodes, opset, names)


def column_conv_model(*, columns, packed=None, filters=4, weight_shape=None, **changes):
    """One ColumnConv on the input, stride 2, with a relu behind; ``changes`` replace attributes."""
    columns = np.asarray(columns, dtype=np.int32)
    packed = random(filters, columns.size) if packed is None else packed
    shape = list(weight_shape or (filters, 3, 3, 3))
    attributes = {
        "kernel_shape": [3, 3],
        "pads": [1, 1, 1, 1],
        "strides": [2, 2],
        "dilations": [1, 1],
        "matrix_shape": [shape[0], int(np.prod(shape[1:]))],
        "weight_shape": shape,
        **changes,
    }
    inputs = ["input", "w", "columns", "b"]
    nodes = [
        helper.make_node("ColumnConv", inputs, ["c"], name="layer.conv", domain="act", **attributes),
        helper.make_node("Relu", ["c"], ["output"]),
    ]
    weights = {"w": packed, "columns": columns, "b": random(filters, seed=1)}
    return model_of(nodes, weights, functions=[column_conv_function()], domains=["act"])


def run(model, image):
    """Outputs of onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def operators(model):
    return [node.op_type for node in model.graph.node]


def with_external_data(model, name, location, *, offset=None, length=None):
    """Mark one initializer as external; its bytes are returned and no longer in the model."""
    tensor = next(t for t in model.graph.initializer if t.name == name)
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, entry in (("location", location), ("offset", offset), ("length", length)):
        if entry is not None:
            tensor.external_data.add(key=key, value=str(entry))
    return data
