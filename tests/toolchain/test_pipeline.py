"""The main job end to end, small: real digits, real training, every stage, and a kill in between."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from act.toolchain.cli import main
from act.toolchain.run_folder import Journal, RunFolder

CONFIG = """effort = "quick"
threads = 1
[data]
limit_train = 300
[prune]
max_rounds = 2
admm_epochs = 1
[train]
dense_epochs = 3
retrain_epochs = 1
final_epochs = 1
[search]
trials = 10
images = 100
recalibration_images = 100
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.toml"
    path.write_text(CONFIG)
    return path


def arguments(config: Path, out: Path, *more: str) -> list[str]:
    return ["compress", "--target", "adreno640", "--config", str(config), "--quiet", "--out", str(out), *more]


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was asked for 3 times fewer MACs."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(arguments(config, out, "--macs-x", "3")) == 0
    return out


def report_of(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def test_the_constraint_is_met_and_every_file_is_there(finished: Path) -> None:
    report = report_of(finished)
    assert report["constraint"]["met"]
    assert report["ratios"]["macs"] >= 3
    names = {path.name for path in finished.iterdir()}
    assert {
        "model.onnx",
        "model.actpkg",
        "pruning_plan.json",
        "weights.safetensors",
        "report.html",
        "env.json",
    } <= names
    assert not list(finished.rglob("*.tmp"))


def test_the_equality_chain_was_checked(finished: Path) -> None:
    pairs = [check["pair"] for check in report_of(finished)["equality"]]
    assert sum(pair.startswith("masked = compact") for pair in pairs) == 2
    assert "compact = onnxruntime" in pairs


def test_the_file_is_as_small_as_promised(finished: Path) -> None:
    result = report_of(finished)["result"]
    allowed = 4 * (result["params"] + result["column_indices"]) + 64 * 1024
    assert (finished / "model.onnx").stat().st_size <= allowed


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


@pytest.mark.parametrize("stage", ["round 1 search", "round 1 compact", "round 2 admm", "final"])
def test_a_run_killed_after_any_stage_ends_as_the_uninterrupted_one(
    config: Path, finished: Path, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = RunFolder.finish

    def finish_and_die(self: RunFolder, name: str, result: dict[str, Any]) -> dict[str, Any]:
        record = finish(self, name, result)
        if name == stage:
            raise KilledError
        return record

    out = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", finish_and_die)
        with pytest.raises(KilledError):
            main(arguments(config, out, "--macs-x", "3"))
    assert main(arguments(config, out, "--resume")) == 0
    for name in ("pruning_plan.json", "weights.safetensors"):
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name
    assert report_of(out)["result"]["accuracy_top1"] == report_of(finished)["result"]["accuracy_top1"]


def test_a_constraint_that_cannot_be_met_ends_with_5_and_saves_the_best(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "impossible"
    assert main(arguments(config, out, "--latency-ms", "0.001")) == 5
    assert "not met" in capsys.readouterr().err
    assert not report_of(out)["constraint"]["met"]
    assert (out / "model.onnx").exists()


def test_an_existing_run_is_refused_and_untouched(
    config: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "report.json").read_bytes()
    assert main(arguments(config, finished)) == 2
    assert "--resume" in capsys.readouterr().err
    assert (finished / "report.json").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--target", "adreno64"], "did you mean 'adreno640'"),
        (["resnet21"], "did you mean 'resnet20'"),
        (["--data", "digit"], "did you mean 'digits'"),
        (["--weights", "none.safetensors"], "none.safetensors"),
        (["--macs-x", "0.5"], "greater than 1"),
        (["--macsx", "2"], "did you mean '--macs-x'"),
        (["--argument", "stem"], "NAME=VALUE"),
        (["--granularity", "unstructured"], "nothing to compact"),
        (["--granularity", "colum"], "did you mean 'column'"),
        (["--solver", "adm"], "did you mean 'admm'"),
        (["--resume"], "no run to resume"),
    ],
)
def test_bad_input_says_what_is_wrong_and_writes_nothing(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    try:
        code = main(["compress", "--effort", "quick", "--out", str(out), *flags])
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", "--dry-run", "--out", str(tmp_path / "run")]) == 0
    assert 'target = "adreno640"' in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.first = nn.Conv2d(in_channels, 8, 3)
        self.second = nn.Conv2d(8, 12, 3, padding=1)
        self.third = nn.Conv2d(12, 12, 1)
        self.last = nn.Linear(12, num_classes)

    def forward(self, x):
        x = torch.cumsum(self.first(x), 1)  # unknown to capture and to the compiler
        return self.last(self.third(torch.relu(self.second(x))).mean((2, 3)))

def make(num_classes, in_channels):
    return Net(num_classes, in_channels)
"""


def test_an_unknown_operator_is_named_and_stops_neither_pruning_nor_export(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_unusual_nets.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "run"
    code = main(["compress", "my_unusual_nets:make", *arguments(config, out, "--params-x", "1.5")[1:]])
    assert code == 4
    assert "CumSum" in capsys.readouterr().err
    report = report_of(out)
    assert report["ratios"]["params"] >= 1.5
    assert any("cumsum" in frozen["reason"] for frozen in report["frozen"])
    assert (out / "model.onnx").exists()
    assert not (out / "model.actpkg").exists()


def test_a_run_with_blocks_of_columns_and_slr_ends_as_the_uninterrupted_one(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--params-x", "4", "--granularity", "combined-block", "--solver", "slr"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def compress(out: Path, *more: str) -> int:
        return main(["compress", "lenet5", *arguments(config, out, *more)[1:]])

    assert compress(whole, *flags) == 0
    assert report_of(whole)["granularity"] == "combined-block"
    append = Journal.append

    def append_and_die(self: Journal, record: Mapping[str, Any]) -> None:
        append(self, record)
        if record.get("stage") == "round 1 purify" and record.get("index") == 1:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", append_and_die)
        with pytest.raises(KilledError):
            compress(killed, *flags)
    assert compress(killed, "--resume") == 0
    for name in ("pruning_plan.json", "weights.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    events = [json.loads(line) for line in (whole / "events.jsonl").read_text().splitlines()]
    residuals = [event for event in events if event["event"] == "residuals"]
    assert residuals
    assert {event["stage"] for event in residuals} == {"round 1 slr", "round 2 slr"}
    assert all(event["layer_primal"] for event in residuals)


def test_a_layer_that_rho_names_but_the_network_lacks_is_refused_before_the_run(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rho.toml"
    file.write_text('[prune]\nlayer_rho = { "layer9.*" = 2.0 }\n')
    out = tmp_path / "run"
    assert main(["compress", "--effort", "quick", "--config", str(file), "--out", str(out)]) == 2
    assert "layer9.*" in capsys.readouterr().err
    assert not out.exists()
