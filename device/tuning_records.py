"""What tuning found, in the file of the latency database: every candidate that was tried, and the winner of each layer.

A row belongs to a target with its precision, to a layer's sizes, and to the fingerprint of the device that it was
measured on. Times of one row were taken in the same passes as those of the rule's kernel, so their ratio counts. All is
text here: what a layer or a candidate is, the compiler knows.

A phone's target names its GPU, so what one phone of it chose serves every compile for that target; with several
phones, the one that is named comes first, then the one tuned last. A local target names no hardware: what serves it is
of the local device that is named, or was tuned last. No row ever serves another target.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, cast

from .database import connect, default_path

__all__ = ["Status", "Trial", "TuningRecords", "Winner"]

Status = Literal["tried", "winner", "bad"]
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS tuning (
    target TEXT NOT NULL, layer TEXT NOT NULL, fingerprint TEXT NOT NULL, candidate TEXT NOT NULL,
    status TEXT NOT NULL, latency_us REAL, rule_us REAL, reason TEXT NOT NULL, device TEXT NOT NULL,
    measured_at REAL NOT NULL, PRIMARY KEY (target, layer, fingerprint, candidate)) WITHOUT ROWID;
"""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One candidate of one layer.

    Attributes:
        candidate: The compiler's text for it.
        status: ``tried``, ``winner`` (at most one of a layer), or ``bad``: did not build or run, or computed wrongly.
        latency_us: Its time; None if bad.
        rule_us: Of the rule's kernel in the same passes; None if bad.
        reason: Why it is bad.
    """

    candidate: str
    status: Status
    latency_us: float | None = None
    rule_us: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        times = (self.latency_us, self.rule_us)
        fits = times == (None, None) if self.status == "bad" else all(t is not None and t > 0 for t in times)
        if not fits:
            raise ValueError(f"a bad candidate has no times, any other two positive ones, got {self}")

    @property
    def relative(self) -> float:
        """Time over that of the rule's kernel; infinite if bad."""
        return self.latency_us / self.rule_us if self.latency_us and self.rule_us else float("inf")


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The best candidate of a layer, and what it was measured on."""

    layer: str
    trial: Trial
    tried: int
    device: str
    fingerprint: str


class TuningRecords:
    """Trials by target, layer and fingerprint; several processes may use one file at a time.

    Use it as a context manager, or close it.

    Raises:
        DatabaseError: As for ``LatencyDatabase``.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path) if path is not None else default_path()
        self._connection = connect(self.path, _SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def trials(self, target: str, layer: str, fingerprint: str) -> list[Trial]:
        """All candidates of a layer that were tried on a device, in the order tried."""
        query = (
            "SELECT candidate, status, latency_us, rule_us, reason FROM tuning "
            "WHERE target = ? AND layer = ? AND fingerprint = ? ORDER BY measured_at"
        )
        return [_trial(row) for row in self._connection.execute(query, (target, layer, fingerprint))]

    def put(self, target: str, layer: str, fingerprint: str, trial: Trial, *, device: str) -> None:
        """Keep a trial; a later one of the same candidate replaces it, and a winner the winner before it.

        Args:
            target: Name and precision.
            layer: The compiler's text for its sizes.
            fingerprint: Of the device.
            trial: What was found.
            device: Id of the device, for people.
        """
        row = (target, layer, fingerprint, *_columns(trial), device, time.time())
        with self._transaction():
            if trial.status == "winner":
                self._connection.execute(
                    "UPDATE tuning SET status = 'tried' "
                    "WHERE target = ? AND layer = ? AND fingerprint = ? AND status = 'winner'",
                    (target, layer, fingerprint),
                )
            self._connection.execute("INSERT OR REPLACE INTO tuning VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def winners(self, target: str, fingerprint: str | None = None) -> list[Winner]:
        """The winner of every layer that was tuned for a target.

        Args:
            target: Name and precision.
            fingerprint: The device whose choice comes first; the others follow, the last tuned first.
        """
        query = (
            "SELECT layer, candidate, status, latency_us, rule_us, reason, device, fingerprint, (SELECT COUNT(*) FROM "
            "tuning AS other WHERE other.target = tuning.target AND other.layer = tuning.layer "
            "AND other.fingerprint = tuning.fingerprint) FROM tuning WHERE target = ? AND status = 'winner' "
            "ORDER BY fingerprint = ? DESC, measured_at DESC"
        )
        found: dict[str, Winner] = {}
        for layer, *trial, device, owner, tried in self._connection.execute(query, (target, fingerprint or "")):
            winner = Winner(layer=layer, trial=_trial(trial), tried=tried, device=device, fingerprint=owner)
            found.setdefault(layer, winner)
        return list(found.values())

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise


def _columns(trial: Trial) -> tuple[str, str, float | None, float | None, str]:
    return trial.candidate, trial.status, trial.latency_us, trial.rule_us, trial.reason


def _trial(row: sqlite3.Row | list[object] | tuple[object, ...]) -> Trial:
    candidate, status, latency_us, rule_us, reason = row
    return Trial(
        candidate=str(candidate),
        status=cast(Status, status),
        latency_us=cast(float | None, latency_us),
        rule_us=cast(float | None, rule_us),
        reason=str(reason),
    )
