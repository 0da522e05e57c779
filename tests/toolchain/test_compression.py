"""Rounds under an accuracy budget, end to end and small: what is thrown away, what stays, and a kill in between."""

import json
from pathlib import Path
from typing import Any

import pytest
from act.toolchain.cli import main
from act.toolchain.run_folder import RunFolder

CONFIG = """effort = "quick"
threads = 1
[data]
limit_train = 300
[prune]
max_rounds = 4
max_back_offs = 2
admm_epochs = 1
purify = false
[train]
dense_epochs = DENSE
retrain_epochs = 1
final_epochs = 1
[search]
trials = 8
images = 100
recalibration_images = 100
"""


def compress(folder: Path, name: str, *more: str, dense_epochs: int = 6) -> tuple[int, dict[str, Any]]:
    (folder / "small.toml").write_text(CONFIG.replace("DENSE", str(dense_epochs)))
    base = ["compress", "--target", "adreno640", "--config", str(folder / "small.toml"), "--quiet"]
    code = main([*base, "--out", str(folder / name), *more])
    return code, json.loads((folder / name / "report.json").read_text())


def assert_consistent(code: int, report: dict[str, Any], budget: float) -> None:
    """Rounds are accepted by the budget alone, and the result is what the accepted ones left."""
    reference = report["baseline"]["reference_search_accuracy_top1"]
    for row in report["rounds"]:
        assert row["accepted"] == (row["search_accuracy_top1"] >= reference - budget - 1e-9)
    accepted = [row for row in report["rounds"] if row["accepted"]]
    expected = accepted[-1]["macs"] if accepted else report["baseline"]["macs"]
    assert report["result"]["macs"] == expected
    assert code == (0 if report["constraint"]["met"] else 5)


@pytest.mark.timeout(300)
def test_cost_and_accuracy_must_both_hold(tmp_path: Path) -> None:
    code, report = compress(tmp_path, "run", "--macs-x", "6", "--max-accuracy-drop", "0", dense_epochs=3)
    assert_consistent(code, report, 0.0)
    assert report["constraint"]["asked"] == {"macs_x": 6.0, "max_accuracy_drop": 0.0}
    reached = report["constraint"]["reached"]
    assert report["constraint"]["met"] == (reached["macs_x"] >= 6 and reached["max_accuracy_drop"] <= 0)
    assert sum(not row["accepted"] for row in report["rounds"]) <= 3


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_killed_in_a_retried_round_ends_as_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = ("--max-accuracy-drop", "3", "--objective", "macs")
    code, report = compress(tmp_path, "whole", *goal)
    assert_consistent(code, report, 3.0)
    stages = [e["stage"] for e in RunFolder(tmp_path / "whole").events if e["event"] == "finished"]
    retried = [stage for stage in stages if "retry" in stage and stage.endswith("admm")]
    if not retried:
        pytest.skip("no round was thrown away on this machine")
    finish = RunFolder.finish

    def finish_and_die(self: RunFolder, name: str, result: dict[str, Any]) -> dict[str, Any]:
        record = finish(self, name, result)
        if name == retried[0]:
            raise KilledError
        return record

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", finish_and_die)
        with pytest.raises(KilledError):
            compress(tmp_path, "killed", *goal)
    compress(tmp_path, "killed", "--resume")
    for name in ("pruning_plan.json", "weights.safetensors", "trials.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
