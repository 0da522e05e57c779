import json
import shutil

import pytest
from act.toolchain.cli import main
from act.toolchain.output import bytes_text, count_text, jsonable, milliseconds_text, print_table, ratio_text


def test_targets(capsys):
    assert main(["targets"]) == 0
    out = capsys.readouterr().out
    assert "adreno640" in out and "host-opencl" in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_targets_as_json(capsys):
    assert main(["targets", "--json"]) == 0
    targets = json.loads(capsys.readouterr().out)
    assert {"name", "backend", "description"} == set(targets[0])
    assert "adreno640" in [target["name"] for target in targets]


def test_models_by_pattern(capsys):
    assert main(["models", "resnet[235]*"]) == 0
    assert capsys.readouterr().out.split()[:2] == ["resnet20", "resnet32"]


def test_models_as_json(capsys):
    assert main(["models", "--json"]) == 0
    names = json.loads(capsys.readouterr().out)
    assert "vgg16" in names["own"] and "vgg19_bn" in names["torchvision"]


def test_doctor_without_c_compiler_says_what_to_install(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert main(["doctor", "--json"]) == 3
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert not checks["runner"]["ok"]
    assert "gcc" in checks["runner"]["found"]
    assert checks["python"]["ok"] and checks["torch"]["ok"]


def test_doctor_text(capsys):
    code = main(["doctor"])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert code == (3 if any(line.startswith("problem") for line in lines) else 0)
    assert any(line.startswith("ok      python") for line in lines)
    assert "check · " in err


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler: apt install gcc")
def test_build_runner_prints_its_path(capsys):
    assert main(["devices", "build-runner"]) == 0
    assert capsys.readouterr().out.strip().endswith("act-runner")


def test_report_command(tmp_path, capsys):
    least = {"schema_version": 1, "run": "r", "baseline": {"params": 100}, "result": {"params": 10}}
    (tmp_path / "report.json").write_text(json.dumps(least))
    assert main(["report", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "10×" in out
    assert out.splitlines()[-1] == f"report: {tmp_path / 'report.html'}"
    assert main(["report", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == least
    assert main(["report", str(tmp_path), "--open-path", "--out", str(tmp_path / "other.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'other.html'}\n"


def test_report_of_an_unfinished_run(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "has no report.json" in capsys.readouterr().err


def test_tables_print_markup_as_it_is(capsys):
    print_table(("[b]name[/b]",), [("[red]x[/red]",)], title="[i]t")
    assert capsys.readouterr().out.splitlines() == ["[i]t", "[b]name[/b]", "[red]x[/red]"]


def test_numbers():
    assert [count_text(n) for n in (7, 9_216, 12_345, 4_060_000, 1_820_000_000)] == [
        "7", "9,216", "12.3 k", "4.06 M", "1.82 G",
    ]  # fmt: skip
    assert [bytes_text(n) for n in (912, 63_100, 1_090_000)] == ["912 B", "63.1 kB", "1.09 MB"]
    assert [milliseconds_text(n) for n in (0.4123, 12.34, 123.4, None)] == ["0.412 ms", "12.34 ms", "123.4 ms", "–"]
    assert [ratio_text(n) for n in (8.42, 123.4, None)] == ["8.42×", "123×", "–"]


def test_jsonable():
    import numpy as np

    assert jsonable({"a": (np.float32(0.5), np.arange(2)), 1: float("inf")}) == {"a": [0.5, [0, 1]], "1": None}
