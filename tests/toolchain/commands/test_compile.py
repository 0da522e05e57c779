"""`act compile`: what it prints, and what it says to files that it cannot compile."""

import json

import numpy as np
import onnx
import pytest
from act.device.package_format import read_package
from act.toolchain.cli import main
from onnx import TensorProto, helper, numpy_helper


def _model(path, *, operator="Conv", relu=True):
    weight = np.random.default_rng(0).standard_normal((8, 3, 3, 3), dtype=np.float32)
    nodes = [helper.make_node("Conv", ["input", "w"], ["a" if relu else "output"], name="conv", pads=[1, 1, 1, 1])]
    if relu:
        nodes.append(helper.make_node(operator if operator != "Conv" else "Relu", ["a"], ["output"], name="after"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 8, 8, 8])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def test_package_lies_beside_the_file(tmp_path, capsys):
    file = _model(tmp_path / "m.onnx")
    assert main(["compile", str(file), "--target", "adreno640"]) == 0
    out, err = capsys.readouterr()
    assert f"act bench {tmp_path / 'm.actpkg'}" in out
    assert "modelled on adreno640, batch 1, fp32" in out
    assert "compile for adreno640 · " in err
    assert read_package(tmp_path / "m.actpkg").target == "adreno640"


def test_json(tmp_path, capsys):
    file = _model(tmp_path / "m.onnx")
    out = tmp_path / "other.actpkg"
    assert main(["compile", str(file), "--target", "host-opencl", "--out", str(out), "--batch", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["package"], result["target"], result["batch"]) == (str(out), "host-opencl", 2)
    assert result["file_bytes"] == out.stat().st_size
    assert result["modelled_latency_ms"] > 0
    assert "conv" in [step["source_operator"] for step in result["steps"]]
    assert read_package(out).batch == 2


def _refused(capsys, *arguments, message, code=2):
    assert main(["compile", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "internal error" not in err


def test_unknown_target(tmp_path, capsys):
    file = _model(tmp_path / "m.onnx")
    _refused(capsys, file, "--target", "adreno64", message="did you mean 'adreno640'?")


def test_unsupported_operator_is_a_compile_error(tmp_path, capsys):
    file = _model(tmp_path / "m.onnx", operator="Hardmax")
    _refused(capsys, file, message="Hardmax", code=4)


def test_file_cut_short(tmp_path, capsys):
    file = _model(tmp_path / "m.onnx")
    file.write_bytes(file.read_bytes()[:200])
    _refused(capsys, file, message="cut short")
    assert not (tmp_path / "m.actpkg").exists()


def test_a_network_is_exported_first(capsys):
    _refused(capsys, "resnet20", message="act export resnet20")


def test_run_without_onnx(finished_run, capsys):
    _refused(capsys, finished_run, message="holds no ONNX file")


@pytest.mark.parametrize(("out", "message"), [("", "is a folder"), ("no/where.actpkg", "there is no folder")])
def test_out_that_cannot_be_written(tmp_path, capsys, out, message):
    file = _model(tmp_path / "m.onnx")
    _refused(capsys, file, "--out", tmp_path / out, message=message)


def test_external_data_outside_the_folder(tmp_path, capsys):
    (tmp_path / "inside").mkdir()
    file = _model(tmp_path / "inside" / "m.onnx")
    model = onnx.load(file)
    tensor = model.graph.initializer[0]
    (tmp_path / "secret.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.append(onnx.StringStringEntryProto(key="location", value="../secret.bin"))
    file.write_bytes(model.SerializeToString())
    _refused(capsys, file, message="secret.bin")


def test_half_precision_and_memory_are_told(tmp_path, capsys):
    file = _model(tmp_path / "m.onnx")
    assert main(["compile", str(file), "--target", "adreno640", "--precision", "fp16"]) == 0
    out = capsys.readouterr().out
    assert "modelled on adreno640, batch 1, fp16" in out
    assert "alive at once)" in out
    assert read_package(tmp_path / "m.actpkg").precision == "fp16"
    assert main(["compile", str(file), "--precision", "fp16", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["precision"] == "fp16"
    assert 0 < told["peak_live_bytes"] <= told["arena_bytes"]
    assert main(["inspect", str(tmp_path / "m.actpkg"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["precision"], found["peak_live_bytes"]) == ("fp16", told["peak_live_bytes"])
    assert main(["inspect", str(tmp_path / "m.actpkg")]) == 0
    assert "alive at once)" in capsys.readouterr().out


def test_unknown_precision(tmp_path, capsys):
    file = _model(tmp_path / "m.onnx")
    _refused(capsys, file, "--precision", "fp61", message="did you mean 'fp16'? known values: fp32, fp16")


def test_open_sizes_are_refused_with_the_flag_that_fixes_them(tmp_path, capsys):
    file = _model(tmp_path / "m.onnx")
    model = onnx.load(file)
    for index in (2, 3):
        for value in (model.graph.input[0], model.graph.output[0]):
            value.type.tensor_type.shape.dim[index].dim_param = f"side{index}"
    file.write_bytes(model.SerializeToString())
    _refused(capsys, file, message="fix the rest with --input-shape")
    _refused(capsys, file, "--input-shape", "3,0,12", message="is not a size")
    _refused(capsys, file, "--input-shape", "1,10,12", message="does not fit input")
    assert main(["compile", str(file), "--input-shape", "3,10,12"]) == 0
    assert read_package(tmp_path / "m.actpkg").input_shape == (1, 3, 10, 12)
