import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from act.models.layers import ColumnConv2d
from act.models.preprocessing import Preprocessing
from act.models.registry import list_models
from act.toolchain.capture import capture
from act.toolchain.compaction import compact
from act.toolchain.cost import count_params
from act.toolchain.coupling import find_coupling
from act.toolchain.equality import relative_difference
from act.toolchain.export import ExportError, export_onnx, make_onnx
from torch import nn

HAND_MADE = [
    "padded_shortcut",
    "concatenated",
    "depthwise",
    "excited",
    "grouped",
    "shuffled",
    "partly_shared",
    "recurrent",
]


def run(model, x):
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x.numpy()})[0]


def check_runtime(network, model, x):
    with torch.no_grad():
        expected = network.module.eval()(x)
    assert relative_difference(run(model, x), expected) < 1e-4


def small_network(network, random_plan, granularity="combined"):
    coupling = find_coupling(network)
    return compact(network, coupling, random_plan(coupling, np.random.default_rng(4), granularity))


@pytest.mark.parametrize("name", [*list_models(), *HAND_MADE])
def test_onnxruntime_computes_the_compact_network(network_of, random_plan, images_for, tmp_path, name):
    network = small_network(network_of(name), random_plan)
    path = tmp_path / "model.onnx"
    export_onnx(network, path, preprocessing=None)
    onnx.checker.check_model(str(path), full_check=True)
    check_runtime(network, path.read_bytes(), images_for(network))
    count = count_params(network)
    assert path.stat().st_size <= 4 * (count.total + count.column_indices) + 64 * 1024
    model = onnx.load(path)
    assert "ColumnConv" in {node.op_type for node in model.graph.node}
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("name", ["resnet20", "depthwise"])
def test_dense_networks_and_dense_files_hold_standard_operators_alone(network_of, random_plan, images_for, name):
    network = network_of(name)
    for captured, dense in ((network, False), (small_network(network, random_plan), True)):
        model = make_onnx(captured, dense=dense)
        assert {node.domain for node in model.graph.node} == {""}
        assert not model.functions
        assert {entry.domain for entry in model.opset_import} == {""}
        check_runtime(captured, model, images_for(captured))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_batch_is_symbolic(network_of, random_plan, images_for, count):
    network = small_network(network_of("resnet20"), random_plan)
    model = make_onnx(network)
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert (shape[0].dim_param, [d.dim_value for d in shape[1:]]) == ("batch", [3, 16, 16])
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("input", "output")
    check_runtime(network, model, images_for(network, count))


@pytest.mark.parametrize("bias", [True, False])
def test_column_conv_with_every_setting(images_for, bias):
    torch.manual_seed(0)
    columns = torch.tensor([0, 4, 7, 11, 20, 29], dtype=torch.int32)
    layer = ColumnConv2d(5, 4, (3, 2), columns, stride=(2, 1), padding=(2, 1), dilation=(1, 2), bias=bias)
    network = capture(nn.Sequential(layer), (5, 9, 8))
    model = make_onnx(network)
    node = next(n for n in model.graph.node if n.op_type == "ColumnConv")
    attributes = {a.name: list(a.ints) for a in node.attribute}
    assert attributes == {
        "kernel_shape": [3, 2],
        "pads": [2, 1, 2, 1],
        "strides": [2, 1],
        "dilations": [1, 2],
        "matrix_shape": [4, 30],
        "weight_shape": [4, 5, 3, 2],
    }
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert stored["0.columns"].dtype == np.int32
    assert stored["0.columns"].tolist() == columns.tolist()
    assert stored["0.weight"].shape == (4, 6)
    assert len(node.input) == (4 if bias else 3)
    check_runtime(network, model, images_for(network))


def test_metadata_carries_preprocessing_and_class_names(network_of, tmp_path):
    record = Preprocessing(height=8, width=8, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0), class_names=("é", "<b>", "c"))
    export_onnx(network_of("padded_shortcut"), tmp_path / "m.onnx", preprocessing=record, metadata={"act.run": "x"})
    properties = {p.key: p.value for p in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert Preprocessing.from_dict(json.loads(properties["act.preprocessing"])) == record
    assert properties["act.run"] == "x"


def test_operators_without_a_rule_go_through_torch_and_keep_packed_columns(network_of, random_plan, images_for):
    network = small_network(network_of("gated"), random_plan, "column")
    model = make_onnx(network)
    assert "ColumnConv" in {node.op_type for node in model.graph.node}
    check_runtime(network, model, images_for(network, 5))
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    count = count_params(network)
    assert model.ByteSize() <= 4 * (count.total + count.column_indices) + 64 * 1024
    assert b"site-packages" not in model.SerializeToString()
    assert b"conftest" not in model.SerializeToString()


class Unwritable(nn.Module):
    def forward(self, x):
        return torch.linalg.eigvals(x[:, 0]).real


def test_an_operator_that_onnx_lacks_is_named_and_nothing_is_written(tmp_path):
    network = capture(Unwritable(), (1, 4, 4))
    path = tmp_path / "m.onnx"
    path.write_bytes(b"before")
    with pytest.raises(ExportError, match=r"linalg_eig"):
        export_onnx(network, path, preprocessing=None)
    assert path.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.AvgPool2d(2, padding=1)],
        [nn.BatchNorm2d(3), nn.Hardswish(), nn.ZeroPad2d((1, 0, 2, 1)), nn.SiLU(), nn.MaxPool2d(3, 2, ceil_mode=True)],
        [
            nn.Conv2d(3, 4, 2, padding="same"),
            nn.Tanh(),
            nn.Hardsigmoid(),
            nn.AdaptiveAvgPool2d((4, 2)),
            nn.Flatten(),
            nn.Linear(32, 2),
        ],
        [nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.ReLU6(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Softmax(1)],
        [nn.Identity(), nn.Dropout(0.5)],
    ],
)
def test_rules_agree_with_torch(images_for, layers):
    torch.manual_seed(0)
    network = capture(nn.Sequential(*layers).eval(), (3, 8, 8))
    check_runtime(network, make_onnx(network), images_for(network))


@pytest.mark.parametrize(
    "expression",
    [
        "torch.cat([x, x * 2.0], 1) - 0.5",
        "x.mean((2, 3), keepdim=True) / 3",
        "x[:, :, 1::2, :-1]",
        "x.view(x.size(0), 3, -1).mean(2)",
        "torch.nn.functional.pad(x, (1, 2), value=1.5)",
        "1.0 - x.flatten(1)",
        "torch.nn.functional.avg_pool2d(x, x.size(2))",
        "x + x * x.mean(dim=[2, 3], keepdim=True)",
    ],
)
def test_functional_rules_agree_with_torch(images_for, expression):
    class Net(nn.Module):
        def forward(self, x):
            return eval(expression)

    network = capture(Net(), (3, 8, 8))
    check_runtime(network, make_onnx(network), images_for(network))


def test_weights_are_written_in_float32(network_of):
    network = network_of("padded_shortcut")
    network.module.bfloat16()
    model = make_onnx(network)
    floats = [t for t in model.graph.initializer if t.data_type not in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)]
    assert {t.data_type for t in floats} == {onnx.TensorProto.FLOAT}
    assert next(network.module.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("size", [(5, 7), (2, 3)])
def test_adaptive_pooling_with_windows_of_different_sizes(size):
    network = capture(nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d((3, 4))).eval(), (3, *size))
    model = make_onnx(network)
    assert [node.op_type for node in model.graph.node] == ["Conv", "MatMul", "MatMul"]
    check_runtime(network, model, torch.randn(2, 3, *size))
