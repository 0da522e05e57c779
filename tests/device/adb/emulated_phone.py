"""A phone that the real adb program talks to: a small adbd over TCP with a file system of its own, and faults.

Commands run in this machine's shell, with the phone's paths put in place and programs of Android's (``getprop``,
``dumpsys``, ``settings``) in front of the search path, so that quoting, exit codes and processes are real ones.
"""

import contextlib
import os
import shlex
import shutil
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

from . import galaxy_s10
from .file_sync import serve_sync
from .table_of_times import RUNNER, Table, result_line, retimed
from .transport import Connection, Stream

MAPPED = (b"/data/local/tmp", b"/sys/class/kgsl", b"/proc/sys/kernel/random/boot_id")
RUN_FAULTS = ("line_noise", "drop_in_run", "drop_in_result", "garbage", "truncated_result", "hang", "crash", "reboot")
DISTURBING = ("line_noise", "drop_in_run", "hang", "crash", "reboot")
FAULTS = ("drop_in_push", "wrong_checksum", "no_space", "silent", *RUN_FAULTS)
_STDOUT, _STDERR, _EXIT = 1, 2, 3
_PROGRAMS = {
    "getprop": 'if [ $# = 0 ]; then cat "$PHONE/answers/getprop"; fi',
    "dumpsys": 'cat "$PHONE/answers/dumpsys-$1"',
    "settings": 'cat "$PHONE/answers/settings-$3"',
}


class EmulatedPhone:
    """One phone; ``serial`` is its name once an adb server is connected to ``address``.

    Args:
        root: An empty folder for its files.
        table: Times of kernels, see ``table_of_times``; they answer for the runner's stand-in, and take the place of
            what a real runner measures. None for a real runner's own times.
        environment: Added for every command: how a real runner finds OpenCL.
        features: What its adbd can do; without ``shell_v2`` there are no exit codes.
    """

    def __init__(
        self,
        root: Path,
        *,
        table: Table | None = 1.0,
        environment: dict[str, str] | None = None,
        features: str = "shell_v2,cmd,stat_v2,ls_v2",
    ) -> None:
        self.root, self.table, self.features = root, table, features
        self.properties = dict(galaxy_s10.PROPERTIES)
        self.authorised, self.reachable = True, True
        self.backends: tuple[str, ...] = ("opencl",)
        """For which it has a library, as the runner's stand-in says."""
        self.needs_search_path = False
        """Whether its libraries are found with ``LD_LIBRARY_PATH`` only."""
        self.heats_up = False
        """Whether a run makes it hot."""
        self.commands: list[str] = []
        self._environment = environment or {}
        self._faults: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connections: list[Connection] = []
        self._make_files()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.serial = self.address
        threading.Thread(target=self._accept, daemon=True).start()

    # What a test does to the phone

    def inject(self, fault: str, times: int = 1) -> None:
        """Let a fault happen at the next ``times`` occasions."""
        assert fault in FAULTS, fault
        with self._lock:
            self._faults[fault] = times

    def take(self, fault: str) -> bool:
        """Whether the fault is to happen now; counts it down."""
        with self._lock:
            due = self._faults[fault] > 0
            self._faults[fault] -= due
            return due

    def set_state(
        self,
        *,
        status: int = 0,
        skin: float = 30.5,
        battery: float = 28.0,
        level: int = 90,
        override: bool = False,
        low_power: bool = False,
        awake: bool = True,
        gpu_busy: int = 0,
        gpu_mhz: int = 585,
    ) -> None:
        """How warm, charged and busy it is."""
        thermal = galaxy_s10.THERMAL.format(status=status, skin=skin, override=str(override).lower())
        self._answer("dumpsys-thermalservice", thermal)
        self._answer("dumpsys-battery", galaxy_s10.BATTERY.format(level=level, tenths=round(10 * battery)))
        self._answer("dumpsys-power", galaxy_s10.POWER.format(wakefulness="Awake" if awake else "Asleep"))
        self._answer("settings-low_power", f"{low_power:d}\n")
        self.locate("/sys/class/kgsl/kgsl-3d0/gpu_busy_percentage").write_text(f"{gpu_busy} %\n")
        self.locate("/sys/class/kgsl/kgsl-3d0/max_gpuclk").write_text(f"{gpu_mhz}000000\n")

    def set_properties(self, **changes: str) -> None:
        """Change properties, dots written as ``__``; an empty text removes one."""
        self.properties.update({name.replace("__", "."): value for name, value in changes.items()})
        self._write_properties()

    def disconnect(self) -> None:
        """Drop every connection."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def close(self) -> None:
        """End everything that the phone runs."""
        self.reachable = False
        self._socket.close()
        self.disconnect()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def running(self) -> list[str]:
        """Command lines of runners that are alive."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    line = (folder / "cmdline").read_bytes()
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                    if str(self.root).encode() in line and state != "Z":
                        found.append(line.replace(b"\0", b" ").decode(errors="replace"))
        return found

    def files(self) -> list[str]:
        """What lies in the phone's temporary folder, without folders."""
        top = self.locate("/data/local/tmp")
        return sorted(str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir())

    def folders(self) -> list[str]:
        """The folders there."""
        top = self.locate("/data/local/tmp")
        return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_dir())

    def locate(self, path: str) -> Path:
        """Where a path of the phone lies here."""
        return self.root / path.lstrip("/")

    # Its insides

    def _make_files(self) -> None:
        for folder in ("data/local/tmp", "sys/class/kgsl/kgsl-3d0/devfreq", "proc/sys/kernel/random"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "answers").mkdir()
        (self.root / "bin").mkdir()
        for name, body in _PROGRAMS.items():
            program = self.root / "bin" / name
            program.write_text(f"#!/bin/sh\n{body}\n")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        for name, text in galaxy_s10.SYSFS.items():
            self.locate(f"/sys/class/kgsl/kgsl-3d0/{name}").write_text(text + "\n")
        self._answer("dumpsys-SurfaceFlinger", galaxy_s10.SURFACE_FLINGER)
        self._boot()
        self._write_properties()
        self.set_state()

    def _boot(self) -> None:
        self.locate("/proc/sys/kernel/random/boot_id").write_text(f"boot-{time.monotonic_ns()}\n")

    def _write_properties(self) -> None:
        lines = [f"[{name}]: [{value}]\n" for name, value in sorted(self.properties.items()) if value]
        self._answer("getprop", "".join(lines))

    def _answer(self, name: str, text: str) -> None:
        path = self.root / "answers" / name
        part = path.with_name(f".{name}")
        part.write_text(text)
        part.replace(path)

    def _accept(self) -> None:
        while True:
            try:
                channel, _ = self._socket.accept()
            except OSError:
                return
            if not self.reachable:
                self._connections.append(Connection(channel, banner=bytes, authorised=bool, serve=print))
                continue  # open, and silent
            connection = Connection(channel, banner=self._banner, authorised=lambda: self.authorised, serve=self._serve)
            self._connections.append(connection)
            connection.start()

    def _banner(self) -> bytes:
        names = ("ro.product.name", "ro.product.model", "ro.product.device")
        values = "".join(f"{name}={self.properties[name]};" for name in names)
        return f"device::{values}features={self.features}".encode()

    def _serve(self, service: str, stream: Stream) -> None:
        kind, _, rest = service.partition(":")
        if self.take("silent"):
            time.sleep(60)
        elif kind == "sync":
            serve_sync(stream, self.locate, self)
        elif kind == "shell" or kind.startswith("shell,"):
            self._serve_shell(rest, stream, framed="v2" in kind.split(","))

    def _serve_shell(self, command: str, stream: Stream, *, framed: bool) -> None:
        self.commands.append(command)
        is_run = "--nonce" in command and "/package-" in command
        fault = next((name for name in RUN_FAULTS if is_run and self.take(name)), None)
        program, *words = self._runner_words(command) or [""]
        stands_in = bool(words) and self.locate(program).read_bytes() == RUNNER.encode()
        if stands_in:
            hold = fault in DISTURBING
            self._prepare(words, has_search_path="LD_LIBRARY_PATH=" in command, hold=hold)
        process = self._start(command, errors_apart=framed)
        if fault in DISTURBING:
            self._disturb(fault, stream)
        if fault in ("drop_in_result", "garbage", "truncated_result"):
            self._send_damaged(fault, self._output(process), stream, framed=framed)
        elif words and not stands_in and self.table is not None:
            output, newline, end = self._output(process).rpartition(b"\nACT-EXIT")
            answer = retimed(self.table, output, words, self.locate) + newline + end
            self._send(stream, answer, _STDOUT, framed=framed)
        else:
            pumps = [
                threading.Thread(target=self._pump, args=(pipe, stream, kind, framed), daemon=True)
                for pipe, kind in ((process.stdout, _STDOUT), (process.stderr, _STDERR))
                if pipe is not None
            ]
            for pump in pumps:
                pump.start()
            for pump in pumps:
                pump.join()
        code = process.wait()
        if framed:
            stream.write(struct.pack("<BIB", _EXIT, 1, code % 256 if code >= 0 else 128 - code))

    def _runner_words(self, command: str) -> list[str]:
        """The runner's path and its arguments; empty for other commands."""
        if "--nonce" not in command:
            return []
        words = shlex.split(command.partition(";")[0])
        return words[next(index for index, word in enumerate(words) if "act/runner-" in word) :]

    def _prepare(self, words: list[str], *, has_search_path: bool, hold: bool) -> None:
        """Work out what the runner's stand-in will say, and whether it is to wait."""
        assert self.table is not None
        backends = () if self.needs_search_path and not has_search_path else self.backends
        line = result_line(self.table, words, self.locate, backends=backends)
        if self.heats_up and words[0] == "time":
            self.set_state(status=1, skin=43.0)
        self._answer(f"result-{words[-1]}", line)
        holding = self.root / "answers" / "hold"
        if hold:
            holding.touch()
        else:
            holding.unlink(missing_ok=True)

    def _start(self, command: str, *, errors_apart: bool) -> "subprocess.Popen[bytes]":
        text = command.encode()
        for name in MAPPED:
            text = text.replace(name, str(self.root).encode() + name)
        path = f"{self.root / 'bin'}:{os.environ['PATH']}"
        process = subprocess.Popen(
            [b"/bin/sh", b"-c", text],
            env={**os.environ, **self._environment, "PATH": path, "PHONE": str(self.root)},
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if errors_apart else subprocess.STDOUT,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def _pump(self, pipe, stream: Stream, kind: int, framed: bool) -> None:
        """Pass output on by lines; what nobody reads any more is thrown away, as the kernel's pipe would be."""
        for line in pipe:
            with contextlib.suppress(Exception):
                self._send(stream, self._unmapped(line), kind, framed=framed)

    def _unmapped(self, data: bytes) -> bytes:
        return data.replace(str(self.root).encode(), b"")

    def _send(self, stream: Stream, data: bytes, kind: int, *, framed: bool) -> None:
        stream.write(struct.pack("<BI", kind, len(data)) + data if framed else data.replace(b"\n", b"\r\n"))

    def _disturb(self, fault: str, stream: Stream) -> None:
        """Do something to the runner once it has started."""
        pid = self._runner_pid()
        if fault == "crash":
            os.kill(pid, signal.SIGSEGV)
        elif fault == "hang":
            os.kill(pid, signal.SIGSTOP)
        elif fault == "reboot":
            os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.root / "proc")
            (self.root / "proc/sys/kernel/random").mkdir(parents=True)
            self._boot()
            stream.drop()
        elif fault == "line_noise":
            stream.send_noise()
        else:
            stream.drop()

    def _runner_pid(self) -> int:
        limit = time.monotonic() + 10
        while time.monotonic() < limit:
            for path in self.locate("/data/local/tmp/act").glob("run-*/pid"):
                text = path.read_text().strip()
                with contextlib.suppress(OSError):
                    if text and Path(f"/proc/{text}/cmdline").read_bytes().count(b"act/runner-"):
                        return int(text)
            time.sleep(0.002)
        raise AssertionError("no runner was started")

    def _output(self, process: "subprocess.Popen[bytes]") -> bytes:
        return self._unmapped(process.communicate()[0])

    def _send_damaged(self, fault: str, output: bytes, stream: Stream, *, framed: bool) -> None:
        half = output[: output.index(b"RESULT") + 40]
        if fault == "drop_in_result":
            self._send(stream, half, _STDOUT, framed=framed)
            stream.drop()
        elif fault == "garbage":
            noise = bytes(range(256)) + b"\nRESULT 0 0 0 {}\n\xff\xfe"
            self._send(stream, noise + b"\n" + output, _STDOUT, framed=framed)
        else:
            ending = output[output.rindex(b"\n", 0, -1) :]
            self._send(stream, half + ending, _STDOUT, framed=framed)
