"""Measured latencies, kept in SQLite for all runs of a user.

A kernel's key is its content (source, options, launch sizes, shapes and types of its arguments) and the device's
fingerprint, so that equal layers of different networks share a measurement and nothing else does. A package's key is
the SHA-256 of its file. Values of different devices or drivers never meet.
"""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from .cache import cache_folder
from .harness import LatencyStats
from .package_format import Package, PackageError, read_package

SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS kernels (
    content TEXT NOT NULL, fingerprint TEXT NOT NULL, latency_us REAL NOT NULL, samples INTEGER NOT NULL,
    measured_at REAL NOT NULL, PRIMARY KEY (content, fingerprint)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS packages (
    id INTEGER PRIMARY KEY, content TEXT NOT NULL, fingerprint TEXT NOT NULL, stats TEXT NOT NULL,
    measured_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS packages_key ON packages (content, fingerprint, id);
"""


class DatabaseError(RuntimeError):
    """The database cannot be opened, or is of another version."""


def connect(path: Path, schema: str) -> sqlite3.Connection:
    """Open the database and make the tables of ``schema`` that are not there; several processes may use one file.

    Raises:
        DatabaseError: If the file cannot be opened, is no database, or has another version.
    """
    try:
        connection = sqlite3.connect(path, timeout=30.0, isolation_level=None)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            connection.close()
            raise DatabaseError(
                f"latency database {path} has version {version}, this program reads {SCHEMA_VERSION}: "
                "move it away, or name another file with ACT_DATABASE"
            )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(schema + f"PRAGMA user_version = {SCHEMA_VERSION};")
    except sqlite3.Error as error:
        raise DatabaseError(
            f"cannot use the latency database {path}: {error}; name another file with ACT_DATABASE"
        ) from error
    return connection


def kernel_key(package: Package, step_index: int) -> str:
    """Content hash of one step: what decides its latency on a given device.

    Source, options, sizes, and shape, type and role of each argument; not names, not weights' values, not addresses.
    """
    step = package.steps[step_index]
    kernel = package.kernels[step.kernel]
    buffers = [package.buffers[index] for index in step.arguments]
    arguments = [(buffer.role == "weight", buffer.dtype, buffer.shape) for buffer in buffers]
    content = [
        package.backend,
        kernel.name,
        kernel.source if isinstance(kernel.source, str) else kernel.source.hex(),
        kernel.options,
        step.global_size,
        step.local_size,
        arguments,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def default_path() -> Path:
    """``$ACT_DATABASE``, or ``latency.sqlite`` in the user's cache folder."""
    chosen = os.environ.get("ACT_DATABASE")
    return Path(chosen) if chosen else cache_folder() / "latency.sqlite"


class LatencyDatabase:
    """Latencies by content and fingerprint; several processes may use one file at a time.

    Use it as a context manager, or close it.

    Raises:
        DatabaseError: If the file cannot be opened, is no database, or has another version.
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

    def get_kernel(self, content: str, fingerprint: str) -> float | None:
        """Microseconds of a kernel on a device; None where it was not measured."""
        query = "SELECT latency_us FROM kernels WHERE content = ? AND fingerprint = ?"
        row = self._connection.execute(query, (content, fingerprint)).fetchone()
        return None if row is None else float(row[0])

    def put_kernel(self, content: str, fingerprint: str, latency_us: float, *, samples: int = 1) -> None:
        """Keep one kernel's latency; a later measurement replaces it.

        Raises:
            ValueError: If the latency is negative or not finite.
        """
        if not 0 <= latency_us < float("inf"):
            raise ValueError(f"latency_us must be finite and not negative, got {latency_us}")
        values = (content, fingerprint, latency_us, samples, time.time())
        self._connection.execute("INSERT OR REPLACE INTO kernels VALUES (?, ?, ?, ?, ?)", values)

    def get_end_to_end(self, package_path: Path | str, fingerprint: str) -> list[LatencyStats]:
        """All measurements of a package on a device, oldest first."""
        query = "SELECT stats FROM packages WHERE content = ? AND fingerprint = ? ORDER BY id"
        rows = self._connection.execute(query, (_file_hash(Path(package_path)), fingerprint))
        return [LatencyStats.from_dict(json.loads(row[0])) for row in rows]

    def put_end_to_end(self, package_path: Path | str, stats: LatencyStats) -> None:
        """Keep a measurement of a package, and the times of its kernels where it was profiled."""
        content = _file_hash(Path(package_path))
        package = read_package(package_path)
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.execute(
                "INSERT INTO packages (content, fingerprint, stats, measured_at) VALUES (?, ?, ?, ?)",
                (content, stats.fingerprint, json.dumps(stats.to_dict()), time.time()),
            )
            self._put_steps(package, stats.fingerprint, stats.per_kernel_us)
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    def _put_steps(self, package: Package, fingerprint: str, times_us: Sequence[float]) -> None:
        """Equal steps of one package share a row: their mean."""
        found: dict[str, list[float]] = {}
        for index, latency_us in enumerate(times_us):
            found.setdefault(kernel_key(package, index), []).append(latency_us)
        for content, values in found.items():
            self.put_kernel(content, fingerprint, sum(values) / len(values), samples=len(values))


def _file_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise PackageError(f"cannot read package {path}: {error.strerror or error}") from error
