import numpy as np
import pytest
from act.device.package_format import Buffer, Kernel, Package, Step, write_package
from act.toolchain.cli import main
from onnx import TensorProto, helper, numpy_helper

from .json_output import json_of


def _package():
    source = (
        "__kernel void twice(__global const float* x, __global float* y) {\n"
        "  y[get_global_id(0)] = 2 * x[get_global_id(0)];\n"
        "}\n"
    )
    values = np.arange(4, dtype=np.float32).reshape(1, 4)
    return Package(
        target="host-opencl",
        arena_bytes=2048,
        buffers=(
            Buffer(name="input", role="input", dtype="float32", shape=(1, 4), offset=0, size_bytes=16),
            Buffer(name="output", role="output", dtype="float32", shape=(1, 4), offset=1024, size_bytes=16),
        ),
        steps=(
            Step(
                kernel=0,
                arguments=(0, 1),
                global_size=(4, 1, 1),
                local_size=(1, 1, 1),
                macs=4,
                source_operator="layer1.conv",
                modelled_us=12.5,
            ),
        ),
        kernels=(Kernel(name="twice", source=source),),
        weights=b"",
        inputs=(0,),
        outputs=(1,),
        verification_input=values,
        verification_output=2 * values,
    )


def _onnx(path):
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3), dtype=np.float32)
    weight.reshape(4, 27)[:, :20] = 0
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "w"], ["output"], name="conv", pads=[1, 1, 1, 1])],
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 4, 8, 8])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return str(path)


def test_package(tmp_path, capsys):
    path = tmp_path / "m.actpkg"
    write_package(path, _package())
    found = json_of(capsys, "inspect", str(path))
    assert (found["kind"], found["target"], found["batch"], found["precision"]) == ("package", "host-opencl", 1, "fp32")
    assert found["modelled_kernels_ms"] == pytest.approx(0.0125)
    assert found["steps"][0]["source_operator"] == "layer1.conv"
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "layer1.conv" in out and "0.013 ms modelled in kernels" in out


@pytest.mark.parametrize("damage", ["short", "altered", "empty"])
def test_damaged_package_is_refused(tmp_path, capsys, damage):
    path = tmp_path / "m.actpkg"
    write_package(path, _package())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes({"short": data[: len(data) // 2], "altered": data, "empty": b""}[damage])
    assert main(["inspect", str(path)]) == 2
    assert "m.actpkg" in capsys.readouterr().err


def test_onnx_with_zero_columns(tmp_path, capsys):
    path = _onnx(tmp_path / "m.onnx")
    found = json_of(capsys, "inspect", path)
    assert found["layers"] == [{"name": "conv", "operator": "Conv", "weight": [4, 3, 3, 3], "kept_columns": 7}]
    assert found["params"] == 108
    assert found["operators"] == {"Conv": 1}
    assert main(["inspect", path]) == 0
    out = capsys.readouterr().out
    assert "7 / 27" in out and "input n×3×8×8" in out


def test_network(capsys):
    found = json_of(capsys, "inspect", "resnet20")
    assert found["input_shape"] == [3, 32, 32]
    assert (found["macs"], found["params"], found["conv_params"]) == (40_551_040, 269_034, 267_696)
    assert found["preprocessing"] is None
    names = [group["name"] for group in found["groups"]]
    assert "layer1.0.conv1" in names
    assert {entry["layer"] for entry in found["frozen"]} == {"linear"}


def test_network_as_text(capsys):
    assert main(["inspect", "lenet5"]) == 0
    out = capsys.readouterr().out
    assert "input   1×28×28" in out
    assert "coupling group" in out


def test_own_network(tmp_path, capsys, monkeypatch):
    (tmp_path / "my_net_of_test_inspect.py").write_text(
        "from torch import nn\n"
        "def build(in_channels: int, num_classes: int) -> nn.Module:\n"
        "    conv = nn.Conv2d(in_channels, 8, 3)\n"
        "    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    found = json_of(capsys, "inspect", "my_net_of_test_inspect:build", "--input-shape", "3,8,8", "--classes", "5")
    assert found["output_shape"] == [5]
    assert found["groups"][0]["name"] == "0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet21"], "did you mean 'resnet20'?"),
        (["package.module:factory"], "--input-shape"),
        (["resnet20", "--input-shape", "32,32"], "as in 3,32,32"),
        (["resnet20", "--argument", "width"], "NAME=VALUE"),
        (["resnet20", "--argument", "depht=3"], "depht"),
        (["resnet20", "--weights", "missing.safetensors"], "missing.safetensors"),
        (["runs/missing"], "does not exist"),
        (["vgg16", "--input-shape", "4,32,32"], "1 or 3 channels"),
    ],
)
def test_bad_input(capsys, arguments, message):
    assert main(["inspect", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
