from pathlib import Path

import pytest
from act.toolchain.config_file import resolve
from act.toolchain.run_folder import Journal, RunFolder, RunFolderError, write_atomic

CONFIG = resolve("quick", None, {})


def create(path: Path) -> RunFolder:
    return RunFolder.create(path, CONFIG, {"python": "3"}, "act compress")


def test_a_finished_stage_is_known_after_reopening(tmp_path: Path) -> None:
    folder = create(tmp_path / "run")
    folder.inner_checkpoint("round 1 admm").write_bytes(b"position")
    folder.finish("round 1 admm", {"accuracy": 91.5})
    again, config = RunFolder.resume(tmp_path / "run")
    assert config == CONFIG
    assert again.result("round 1 admm") == {"accuracy": 91.5}
    assert again.result("round 2 admm") is None
    assert not again.inner_checkpoint("round 1 admm").exists()
    assert again.command == "act compress"


def test_a_torn_last_line_is_dropped_and_the_journal_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    journal.append({"n": 1})
    with (tmp_path / "events.jsonl").open("a") as stream:
        stream.write('{"n": 2, "half')
    reopened = Journal(tmp_path / "events.jsonl")
    reopened.append({"n": 3})
    assert [record["n"] for record in Journal(tmp_path / "events.jsonl")] == [1, 3]


def test_an_existing_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    create(tmp_path / "run")
    (tmp_path / "run" / "report.html").write_text("kept")
    with pytest.raises(RunFolderError, match="continue it with --resume"):
        create(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").read_text() == "kept"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="not a run of act"):
        create(tmp_path / "other")


def test_a_run_killed_before_its_configuration_starts_again(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    (path / "env.json").write_text("{}")
    (path / ".config.toml.7.tmp").write_text("half")
    assert RunFolder.is_unstarted(path)
    create(path)
    assert not RunFolder.is_unstarted(path)


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run to resume"):
        RunFolder.resume(tmp_path / "none")


def test_a_failed_write_leaves_the_old_file_and_no_leftover(tmp_path: Path) -> None:
    target = tmp_path / "weights"
    write_atomic(target, b"old")
    with pytest.raises(TypeError):
        write_atomic(target, 7)  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["weights"]
