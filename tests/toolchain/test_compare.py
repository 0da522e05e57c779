"""Methods side by side on real digits, small: figures, resuming, and what cannot be compared."""

import json
from pathlib import Path
from typing import Any

import pytest
from act.toolchain.cli import main
from act.toolchain.compare.comparison import medians
from act.toolchain.compare.methods import METHODS, MethodError, methods_named

CONFIG = """effort = "quick"
threads = 1
[data]
limit_train = 300
[prune]
max_rounds = 1
admm_epochs = 1
[train]
dense_epochs = 2
retrain_epochs = 1
final_epochs = 1
[search]
trials = 6
images = 100
recalibration_images = 100
"""
METHOD_NAMES = ["filter", "uniform-l1", "scratch", "stock", "torch-pruning"]


def compare(folder: Path, *more: str) -> int:
    config = folder.with_name("small.toml")
    config.write_text(CONFIG)
    command = ["compare", "resnet20", "--macs-x", "2", "--config", str(config), "--quiet", "--out", str(folder)]
    return main([*command, *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compare") / "runs"
    assert compare(path, "--methods", *METHOD_NAMES) == 0
    return path


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    found = json.loads((folder / "compare.json").read_text())
    return {row["method"]: row for row in found["rows"]}


def test_every_method_meets_the_constraint_with_the_same_budget(folder: Path) -> None:
    rows = rows_of(folder)
    assert list(rows) == ["act", *METHOD_NAMES]
    good = {name: row for name, row in rows.items() if "problem" not in row}
    assert {"act", "filter", "uniform-l1", "scratch"} <= set(good)
    for name, row in good.items():
        assert row["met"] and row["macs_x"] >= 2, name
        assert row["epochs"] == rows["act"]["epochs"] > 0, name
        assert row["seconds"] > 0, name
        assert 0 <= row["accuracy_top1"] <= 100, name
    assert rows["scratch"]["macs"] == rows["act"]["macs"]
    assert rows["scratch"]["params"] == rows["act"]["params"]
    assert rows["filter"]["params"] != rows["act"]["params"]


def test_a_dense_network_is_trained_once_for_all(folder: Path) -> None:
    files = {path.parent.parent.name: path.read_bytes() for path in folder.glob("*/checkpoints/dense.safetensors")}
    assert {f"{name}-seed0" for name in ("dense", "act", *METHOD_NAMES)} == set(files)
    assert len(set(files.values())) == 1


def test_what_a_baseline_cannot_do_is_a_row_of_its_own(folder: Path) -> None:
    for name in ("stock", "torch-pruning"):
        row = rows_of(folder)[name]
        assert ("problem" in row) != ("accuracy_top1" in row)


def test_a_finished_comparison_is_read_not_run_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows_of(folder)
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert compare(folder, "--methods", *METHOD_NAMES) == 0
    assert rows_of(folder) == before
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == files
    table = capsys.readouterr().out
    assert "resnet20 on digits" in table
    assert all(name in table for name in ("act", *METHOD_NAMES))


def test_runs_of_another_comparison_are_not_taken_for_this_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "compare.json").read_bytes()
    assert compare(folder, "--macs-x", "4", "--methods", "filter") == 2
    assert "other settings" in capsys.readouterr().err
    assert (folder / "compare.json").read_bytes() == before


def test_a_comparison_needs_a_cost_that_all_meet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "resnet20", "--out", str(tmp_path / "runs")]) == 2
    assert "--macs-x" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_bad_seed_is_refused_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(tmp_path / "runs", "--seeds", "0", "-1") == 2
    assert "seed" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(MethodError, match="did you mean 'filter'"):
        methods_named(["fliter"])


def test_the_method_that_sets_the_budget_comes_first() -> None:
    assert [method.name for method in methods_named(["scratch", "act", "scratch"])] == ["act", "scratch"]


def test_the_list_names_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in METHODS)


def test_medians_are_over_the_seeds_that_ended() -> None:
    figures = {"accuracy_before": 90.0, "params_x": 2.0, "conv_params_x": 2.0, "macs_x": 2.0, "epochs": 3, "seconds": 1}
    rows = [
        {"method": "a", "text": "", "met": True, "accuracy_top1": accuracy, **figures}
        for accuracy in (80.0, 85.0, 99.0)
    ]
    rows.append({"method": "b", "text": "", "problem": "not installed"})
    first, second = medians(rows)
    assert (first["accuracy_top1"], first["seeds"], first["met"]) == (85.0, 3, True)
    assert (second["seeds"], second["problem"]) == (0, "not installed")
