"""The ``adb`` program: where it is, how old it is, and which server it talks to."""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from ..errors import DeviceError

MINIMUM_VERSION: Final = 39
"""Third number of ``Android Debug Bridge version 1.0.N``; earlier ones do not report a failed push reliably."""
_HOW_TO_GET: Final = (
    "install Android's platform tools (on Debian and Ubuntu: apt-get install adb), or pip install 'act-compress[adb]', "
    "or name the program with ACT_ADB"
)
_CALL_TIMEOUT_S: Final = 10.0


class AdbProgramError(DeviceError):
    """There is no usable ``adb`` program, or its server is of another version."""


@dataclass(frozen=True, kw_only=True)
class AdbServer:
    """Where an adb server listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``host:port``.

        Raises:
            AdbProgramError: If it is not of that form.
        """
        match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\]):(\d{1,5})", text)
        if match is None or not 0 < int(match[2]) < 65536:
            raise AdbProgramError(f"adb server {text!r} is not of the form host:port, as in lab:5037")
        return cls(host=match[1].strip("[]"), port=int(match[2]))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def version(self) -> int | None:
        """The version of the server that listens there; None where none does.

        Raises:
            AdbProgramError: If something else listens there.
        """
        try:
            with socket.create_connection((self.host, self.port), timeout=_CALL_TIMEOUT_S) as channel:
                channel.sendall(b"000chost:version")
                answer = bytearray()
                while len(answer) < 12 and (part := channel.recv(12 - len(answer))):
                    answer += part
        except OSError:
            return None
        match = re.fullmatch(rb"OKAY0004([0-9a-f]{4})", bytes(answer))
        if match is None:
            raise AdbProgramError(f"what listens on {self} is no adb server")
        return int(match[1], 16)


@dataclass(frozen=True, kw_only=True)
class AdbProgram:
    """A program of sufficient age, and the server that it is to use (its own default where ``server`` is None)."""

    path: Path
    version: int
    release: str
    server: AdbServer | None = None

    def command(self, *arguments: str) -> list[str]:
        """The argument list of a call."""
        where = [] if self.server is None else ["-H", self.server.host, "-P", str(self.server.port)]
        return [str(self.path), *where, *arguments]


def find_adb(server: AdbServer | None = None) -> AdbProgram:
    """The program of ``$ACT_ADB``, else the first usable one of the search path, the Android SDK, and pip's adbutils.

    Args:
        server: The server to use, which may be on another machine; by default adb's own, which it starts.

    Raises:
        AdbProgramError: If there is none, all are too old, or the server that runs is of another version: adb would
            stop that server, which other programs use.
    """
    chosen = os.environ.get("ACT_ADB")
    places = [Path(chosen)] if chosen else _places()
    refused = []
    for path in places:
        found = _read_version(path)
        if found is None:
            refused.append(f"{path} {'does not say its version' if path.exists() else 'is not there'}")
        elif found[0] < MINIMUM_VERSION:
            refused.append(f"{path} has version 1.0.{found[0]}, needed is 1.0.{MINIMUM_VERSION} or newer")
        else:
            program = AdbProgram(path=path, version=found[0], release=found[1], server=server)
            _check_server(program)
            return program
    raise AdbProgramError(f"{'; '.join(refused) or 'the program adb was not found'}: {_HOW_TO_GET}")


def _places() -> list[Path]:
    development_kits = [os.environ.get(name) for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT")]
    folders = [Path(kit) / "platform-tools" for kit in development_kits if kit]
    spec = importlib.util.find_spec("adbutils")
    wheels = (spec.submodule_search_locations or []) if spec is not None else []
    folders += [Path(wheel) / "binaries" for wheel in wheels]
    found = [shutil.which("adb"), *(shutil.which("adb", path=str(folder)) for folder in folders)]
    return [Path(path) for path in dict.fromkeys(found) if path is not None]


def _read_version(path: Path) -> tuple[int, str] | None:
    """Third number of the version, and the release of the platform tools."""
    try:
        done = subprocess.run(
            [str(path), "version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_CALL_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"Android Debug Bridge version 1\.0\.(\d+)", done.stdout)
    release = re.search(r"^Version (\S+)", done.stdout, re.MULTILINE)
    return None if version is None else (int(version[1]), release[1] if release else f"1.0.{version[1]}")


def _check_server(program: AdbProgram) -> None:
    server = program.server or _default_server()
    running = None if server is None else server.version()
    if running is not None and running != program.version:
        raise AdbProgramError(
            f"the adb server on {server} is version 1.0.{running}, {program.path} is 1.0.{program.version} and would "
            "stop it: use the same adb for both (ACT_ADB names one), or stop the server with 'adb kill-server'"
        )
    if running is None and program.server is not None:
        raise AdbProgramError(
            f"no adb server answers on {server}: start one there with 'adb -a nodaemon server start', "
            "in a network that you trust"
        )


def _default_server() -> AdbServer | None:
    """The server that adb itself would choose; None where it is not reached over TCP."""
    chosen = os.environ.get("ADB_SERVER_SOCKET")
    if chosen:
        match = re.fullmatch(r"tcp:(?:(.+):)?(\d+)", chosen)
        return None if match is None else AdbServer(host=match[1] or "127.0.0.1", port=int(match[2]))
    port = os.environ.get("ANDROID_ADB_SERVER_PORT", "")
    host = os.environ.get("ANDROID_ADB_SERVER_ADDRESS") or "127.0.0.1"
    return AdbServer(host=host, port=int(port) if port.isdecimal() else 5037)
