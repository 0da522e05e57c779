"""`act export`: networks and runs as ONNX files that plain onnxruntime runs."""

import json

import onnx
import pytest
from act.toolchain.cli import main


def _export(capsys, *arguments):
    code = main(["export", *map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_network(tmp_path, capsys):
    path = tmp_path / "m.onnx"
    code, result, err = _export(capsys, "lenet5", "--out", path)
    assert code == 0
    assert result["file_bytes"] == path.stat().st_size
    assert result["difference"] < 1e-5
    assert "carries no record" in err
    onnx.checker.check_model(onnx.load(path))


def test_default_name_lies_here(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "lenet5"]) == 0
    assert "act compile lenet5.onnx" in capsys.readouterr().out
    assert (tmp_path / "lenet5.onnx").is_file()


def test_run_keeps_columns_packed_and_carries_its_record(finished_run, tmp_path, capsys):
    path = tmp_path / "m.onnx"
    code, _, err = _export(capsys, finished_run, "--out", path)
    assert (code, "warning" in err) == (0, False)
    model = onnx.load(path)
    assert "ColumnConv" in [node.op_type for node in model.graph.node]
    assert "act.preprocessing" in [entry.key for entry in model.metadata_props]


def test_dense_has_plain_operators_only(finished_run, tmp_path, capsys):
    path = tmp_path / "m.onnx"
    assert _export(capsys, finished_run, "--dense", "--out", path)[0] == 0
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not model.functions


def test_exported_run_is_as_accurate_as_the_run(finished_run, tmp_path, capsys):
    path = tmp_path / "m.onnx"
    assert _export(capsys, finished_run, "--out", path)[0] == 0
    answers = []
    for source in (finished_run, path):
        assert main(["eval", str(source), "--data", "digits", "--seed", "3", "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out)["correct"])
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet21"], "did you mean 'resnet20'?"),
        (["lenet5", "--out", "nowhere/m.onnx"], "there is no folder nowhere"),
        (["lenet5", "--out", "."], "is a folder"),
        (["runs/missing"], "does not exist"),
        (["lenet5", "--weights", "missing.pt"], "missing.pt"),
    ],
)
def test_bad_input(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, result, err = _export(capsys, *arguments)
    assert (code, result) == (2, None)
    assert message in err
    assert list(tmp_path.iterdir()) == []
