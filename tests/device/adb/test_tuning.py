"""`act tune` on an emulated phone: what it finds serves the target of the phone's GPU, and no other."""

import json

import numpy as np
import pytest
from act.toolchain.cli import main
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture(autouse=True)
def _places(private_adb, table_runner, tmp_path, monkeypatch):
    monkeypatch.setenv("ACT_DATABASE", str(tmp_path / "latency.sqlite"))


@pytest.fixture
def model(tmp_path):
    weight = np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "w"], ["output"], name="classes")],
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 40])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    )
    return path


def _reasons(capsys, model, target):
    assert main(["compile", str(model), "--target", target, "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    return [step["tile_reason"] for step in steps if step["tile"]]


def test_a_phone_tunes_for_its_gpu(phone, model, capsys):
    device = f"adb:{phone.serial}"
    assert main(["tune", str(model), "--device", device, "--trials", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["target"], found["device"]) == ("adreno640", device)
    (kernel,) = found["kernels"]
    assert (kernel["tried"], kernel["best"], kernel["ratio"]) == (2, kernel["rule"], 1.0)  # a table of equal times
    assert _reasons(capsys, model, "adreno640") == [f"by the rule; of 2 others on {device} none was faster"]
    assert _reasons(capsys, model, "adreno650") == _reasons(capsys, model, "host-opencl") == ["by the rule"]


def test_a_phone_does_not_tune_for_another_gpu(phone, model, capsys):
    assert main(["tune", str(model), "--device", f"adb:{phone.serial}", "--target", "adreno730"]) == 2
    assert "is not for adreno730: tiles belong to a target" in capsys.readouterr().err


def test_a_phone_that_cannot_be_timed_ends_with_3(phone, model, capsys):
    phone.set_state(low_power=True)
    assert main(["tune", str(model), "--device", f"adb:{phone.serial}", "--trials", "1"]) == 3
    assert "its battery saver is on: turn it off" in capsys.readouterr().err
