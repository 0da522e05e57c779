"""The folder of one run: configuration, append-only journals, stage checkpoints and results.

A stage is *finished* once its record stands in `events.jsonl`; everything that it produced was written before that
record. A run that was killed therefore replays finished stages from their records and does the rest again from the
last checkpoint inside a stage. Journals are flushed record by record and tolerate a torn last line; every other file
is written under a temporary name and renamed.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .config import CompressConfig, ConfigError
from .config_file import load_resolved, to_toml

_WRITTEN_FIRST = {"env.json", "command.txt"}


class RunFolderError(ValueError):
    """A run folder that exists, is missing, or does not belong to this command."""


def write_atomic(path: Path, data: bytes | str) -> Path:
    """Write `data` under a temporary name in the same folder, then rename it to `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data.encode() if isinstance(data, str) else data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


class Journal:
    """An append-only file of JSON records, one a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._drop_torn_line()

    def _drop_torn_line(self) -> None:
        """Cut a last line that a kill or a full disk left unfinished, so that the next record starts on its own."""
        if not self._path.exists():
            return
        data = self._path.read_bytes()
        if data and not data.endswith(b"\n"):
            write_atomic(self._path, data[: data.rfind(b"\n") + 1])

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one record and flush it to the disk."""
        line = json.dumps(dict(record), separators=(",", ":"), allow_nan=False) + "\n"
        with self._path.open("ab") as stream:
            stream.write(line.encode())
            stream.flush()
            os.fsync(stream.fileno())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                return
            if isinstance(record, dict):
                yield record


class RunFolder:
    """Paths, journals and finished stages of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.events = Journal(path / "events.jsonl")
        self.trials = Journal(path / "trials.jsonl")
        self._finished: dict[str, dict[str, Any]] = {
            record["stage"]: record["result"] for record in self.events if record.get("event") == "finished"
        }

    @classmethod
    def create(cls, path: Path, config: CompressConfig, environment: Mapping[str, Any], command: str) -> "RunFolder":
        """Make a new run folder.

        Raises:
            RunFolderError: If `path` exists and is not empty.
        """
        if path.exists() and not cls.is_unstarted(path):
            hint = "continue it with --resume" if (path / "config.toml").exists() else "it is not a run of act"
            raise RunFolderError(f"{path} exists and is not empty: {hint}, or choose another folder with --out")
        path.mkdir(parents=True, exist_ok=True)
        write_atomic(path / "env.json", json.dumps(dict(environment), indent=2) + "\n")
        write_atomic(path / "command.txt", command + "\n")
        # The configuration is written last: a folder that has it is complete enough to be resumed.
        write_atomic(path / "config.toml", to_toml(config))
        return cls(path)

    @staticmethod
    def is_unstarted(path: Path) -> bool:
        """Whether a run in `path` was killed before its configuration was written: there is nothing to resume."""
        if not path.is_dir() or (path / "config.toml").exists():
            return False
        names = {item.name for item in path.iterdir()}
        return all(name in _WRITTEN_FIRST or name.endswith(".tmp") for name in names)

    @classmethod
    def resume(cls, path: Path, *, model_from_flag: str | None = None) -> tuple["RunFolder", CompressConfig]:
        """Open an existing run folder and its configuration.

        Raises:
            RunFolderError: If there is no run to resume at `path`.
        """
        if not (path / "config.toml").is_file():
            raise RunFolderError(
                f"there is no run to resume at {path}: it has no config.toml; start it without --resume"
            )
        try:
            config = load_resolved(path / "config.toml", model_from_flag=model_from_flag)
        except ConfigError as error:
            raise RunFolderError(f"cannot resume {path}: {error}") from None
        return cls(path), config

    @property
    def command(self) -> str:
        """The command line that started the run."""
        return (self.path / "command.txt").read_text(encoding="utf-8").strip()

    def result(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage recorded, or None while it is not finished."""
        return self._finished.get(stage)

    def finish(self, stage: str, result: Mapping[str, Any]) -> dict[str, Any]:
        """Record that `stage` is finished, and drop its inner checkpoint."""
        record = json.loads(json.dumps(dict(result)))
        self.events.append({"event": "finished", "stage": stage, "result": record})
        self._finished[stage] = record
        self.inner_checkpoint(stage).unlink(missing_ok=True)
        return dict(record)

    def take_over(self, stage: str, other: "RunFolder") -> None:
        """Take over a stage that ended in network weights from another run, where it gave what it would give here."""
        result = other.result(stage)
        assert result is not None, "only a finished stage can be taken over"
        write_atomic(self.stage_file(stage, ".safetensors"), other.stage_file(stage, ".safetensors").read_bytes())
        self.finish(stage, result)

    def stage_file(self, stage: str, suffix: str) -> Path:
        """Where a stage keeps a result, `checkpoints/<stage><suffix>`."""
        return self.checkpoints / (stage.replace("/", "-") + suffix)

    def inner_checkpoint(self, stage: str) -> Path:
        """Where a stage keeps its position while it runs."""
        return self.stage_file(stage, ".inner.pt")

    def trials_of(self, stage: str) -> list[dict[str, Any]]:
        """The journalled trials of a stage, in order."""
        return [record for record in self.trials if record.get("stage") == stage]

    def remove_temporary_files(self) -> None:
        """Remove what a killed process left half-written."""
        for leftover in [*self.path.glob(".*.tmp"), *self.checkpoints.glob(".*.tmp")]:
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
