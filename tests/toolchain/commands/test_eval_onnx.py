"""`act eval` on ONNX files, ours and anyone's, and what it says to files that it cannot judge."""

import json

import numpy as np
import onnx
import pytest
from act.models.data import load_data
from act.toolchain.cli import main
from onnx import TensorProto, helper, numpy_helper


def _nearest_mean_classifier(*, batch="n", classes=10, record=None, opset=18):
    """Digits by the nearest class mean: logits = x·m − |m|²/2, written as Flatten and Gemm."""
    data = load_data("digits")
    pixels = data.preprocessing.apply(data.train.images).reshape(len(data.train), -1)
    means = np.stack([pixels[data.train.labels == label].mean(axis=0) for label in range(classes)])
    bias = -0.5 * (means**2).sum(axis=1)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("Gemm", ["flat", "means", "bias"], ["output"], transB=1),
        ],
        "digits",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 1, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, classes])],
        [
            numpy_helper.from_array(means.astype(np.float32), "means"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    if record is not None:
        helper.set_model_props(model, {"act.preprocessing": json.dumps(record)})
    return model


def _save(path, model):
    path.write_bytes(model.SerializeToString())
    return str(path)


def _eval(capsys, *arguments):
    code = main(["eval", *arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_accuracy_of_a_foreign_file_with_the_preprocessing_of_the_data(tmp_path, capsys):
    file = _save(tmp_path / "m.onnx", _nearest_mean_classifier())
    code, result, err = _eval(capsys, file, "--data", "digits")
    assert code == 0
    assert result["images"] == len(load_data("digits").test)
    assert 85 < result["accuracy_top1"] < 99
    assert result["accuracy_top1"] == pytest.approx(100 * result["correct"] / result["images"])
    assert "carries no preprocessing record" in err


def test_fixed_batch_gives_the_same(tmp_path, capsys):
    symbolic = _save(tmp_path / "a.onnx", _nearest_mean_classifier())
    fixed = _save(tmp_path / "b.onnx", _nearest_mean_classifier(batch=7))
    limit = ("--data", "digits", "--limit", "100")
    assert _eval(capsys, symbolic, *limit)[1]["correct"] == _eval(capsys, fixed, *limit)[1]["correct"]


def test_own_preprocessing_record_is_used(tmp_path, capsys):
    record = load_data("digits").preprocessing.to_dict()
    good = _save(tmp_path / "good.onnx", _nearest_mean_classifier(record=record))
    # Inverted contrast turns every digit into something else.
    bad = _save(tmp_path / "bad.onnx", _nearest_mean_classifier(record=record | {"mean": [3.0]}))
    code, result, err = _eval(capsys, good, "--data", "digits")
    assert (code, "preprocessing" in err) == (0, False)
    assert _eval(capsys, bad, "--data", "digits")[1]["accuracy_top1"] < result["accuracy_top1"] - 20


def test_text_output(tmp_path, capsys):
    file = _save(tmp_path / "m.onnx", _nearest_mean_classifier())
    assert main(["eval", file, "--data", "digits", "--part", "search", "--limit", "50", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "% (top 1)" in out
    assert "of 50 right, search part of digits" in out


def _refused(capsys, *arguments, message, code=2):
    assert main(["eval", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "internal error" not in err


def test_no_data(tmp_path, capsys):
    file = _save(tmp_path / "m.onnx", _nearest_mean_classifier())
    _refused(capsys, file, message="--data digits")


def test_unknown_data(tmp_path, capsys):
    file = _save(tmp_path / "m.onnx", _nearest_mean_classifier())
    _refused(capsys, file, "--data", "digts", message="did you mean 'digits'?")


def test_missing_file(capsys):
    _refused(capsys, "nothing.onnx", "--data", "digits", message="there is no file nothing.onnx")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x0a"])
def test_no_onnx_file(tmp_path, capsys, content):
    (tmp_path / "m.onnx").write_bytes(content)
    _refused(capsys, str(tmp_path / "m.onnx"), "--data", "digits", message="m.onnx")


def test_file_cut_short(tmp_path, capsys):
    data = _nearest_mean_classifier().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data[: len(data) // 2])
    _refused(capsys, str(tmp_path / "m.onnx"), "--data", "digits", message="cut short")


def test_external_data_outside_the_folder(tmp_path, capsys):
    model = _nearest_mean_classifier()
    (tmp_path / "secret.bin").write_bytes(model.graph.initializer[0].raw_data)
    (tmp_path / "inside").mkdir()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.append(onnx.StringStringEntryProto(key="location", value="../secret.bin"))
    file = _save(tmp_path / "inside" / "m.onnx", model)
    _refused(capsys, file, "--data", "digits", message="secret.bin")


def test_wrong_number_of_classes(tmp_path, capsys):
    file = _save(tmp_path / "m.onnx", _nearest_mean_classifier(classes=9))
    _refused(capsys, file, "--data", "digits", message="the data has 10 classes")


def test_wrong_image_size(tmp_path, capsys):
    file = _save(tmp_path / "m.onnx", _nearest_mean_classifier())
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 10
    np.savez(tmp_path / "d.npz", x=rng.integers(0, 255, (60, 12, 12, 1), dtype=np.uint8), y=labels)
    _refused(capsys, file, "--data", f"npz:{tmp_path / 'd.npz'}", message="height 8")


def test_wrong_channels_of_the_record(tmp_path, capsys):
    record = load_data("digits").preprocessing.to_dict()
    colour = record | {"channel_order": "RGB", "mean": [0.5] * 3, "std": [0.5] * 3}
    file = _save(tmp_path / "m.onnx", _nearest_mean_classifier(record=colour))
    _refused(capsys, file, "--data", "digits", message="3 channels")


def test_damaged_record(tmp_path, capsys):
    model = _nearest_mean_classifier()
    helper.set_model_props(model, {"act.preprocessing": "{"})
    _refused(capsys, _save(tmp_path / "m.onnx", model), "--data", "digits", message="is not JSON")


def test_operator_that_onnxruntime_does_not_know(tmp_path, capsys):
    model = _nearest_mean_classifier()
    model.graph.node[0].op_type = "Flatten2000"
    _refused(capsys, _save(tmp_path / "m.onnx", model), "--data", "digits", message="onnxruntime refuses")


def test_weights_file_in_place_of_a_network(tmp_path, capsys):
    (tmp_path / "w.safetensors").write_bytes(b"")
    _refused(capsys, str(tmp_path / "w.safetensors"), "--data", "digits", message="weights are given with --weights")
