"""A phone that the real adb program talks to: a small adbd over TCP with a file system of its own, and faults."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

from . import galaxy_s10
from .file_sync import serve_sync
from .shell_service import RUN_FAULTS, serve_shell
from .table_of_times import Table
from .transport import Connection, Stream

FAULTS = ("drop_in_push", "wrong_checksum", "no_space", "silent", *RUN_FAULTS)
_PROGRAMS = {
    "getprop": 'if [ $# = 0 ]; then exec cat "$PHONE/answers/getprop"; fi',
    "dumpsys": 'exec cat "$PHONE/answers/dumpsys-$1"',
    "settings": 'exec cat "$PHONE/answers/settings-$3"',
}


class EmulatedPhone:
    """One phone; ``serial`` is its name once an adb server is connected to ``address``.

    Args:
        root: An empty folder for its files.
        table: Times of kernels, see ``table_of_times``; they answer for the runner's stand-in, and take the place of
            what a real runner measures. None for a real runner's own times.
        environment: Added for every command: how a real runner finds OpenCL.
        features: What its adbd can do; without ``shell_v2`` there are no exit codes.
        emulator: Words before a runner's path that let this machine run it, as in ``qemu-aarch64-static -L ROOT``.
    """

    def __init__(
        self,
        root: Path,
        *,
        table: Table | None = 1.0,
        environment: dict[str, str] | None = None,
        features: str = "shell_v2,cmd,stat_v2,ls_v2",
        emulator: tuple[str, ...] = (),
    ) -> None:
        self.root, self.table, self.features = root, table, features
        self.properties = dict(galaxy_s10.PROPERTIES)
        self.authorised, self.reachable = True, True
        self.backends: tuple[str, ...] = ("opencl",)
        """For which it has a library, as the runner's stand-in says."""
        self.needs_search_path = False
        """Whether its libraries are found with ``LD_LIBRARY_PATH`` only."""
        self.faults_at_devices = False
        """Whether faults of a run happen when the runner lists devices, too."""
        self.keeps_programs = False
        """Whether runners keep built programs, as on a GPU; this machine's driver takes long to give them away."""
        self.heats_up = False
        """Whether a run makes it hot."""
        self.commands: list[str] = []
        self.environment, self.emulator = environment or {}, emulator
        self._faults: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.processes: list[subprocess.Popen[bytes]] = []
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
        self.answer("dumpsys-thermalservice", thermal)
        self.answer("dumpsys-battery", galaxy_s10.BATTERY.format(level=level, tenths=round(10 * battery)))
        self.answer("dumpsys-power", galaxy_s10.POWER.format(wakefulness="Awake" if awake else "Asleep"))
        self.answer("settings-low_power", f"{low_power:d}\n")
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
        for process in self.processes:
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
        self.answer("dumpsys-SurfaceFlinger", galaxy_s10.SURFACE_FLINGER)
        self.boot()
        self._write_properties()
        self.set_state()

    def boot(self) -> None:
        """Give it the boot id of a fresh start."""
        self.locate("/proc/sys/kernel/random/boot_id").write_text(f"boot-{time.monotonic_ns()}\n")

    def _write_properties(self) -> None:
        lines = [f"[{name}]: [{value}]\n" for name, value in sorted(self.properties.items()) if value]
        self.answer("getprop", "".join(lines))

    def answer(self, name: str, text: str) -> None:
        """Lay down what one of its programs will print."""
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
            serve_shell(self, rest, stream, framed="v2" in kind.split(","))
