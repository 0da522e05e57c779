"""The phone's side of adb's shell service, first and second version, and what can go wrong with a run.

Commands run in this machine's shell, with the phone's paths put in place and programs of Android's (``getprop``,
``dumpsys``, ``settings``) in front of the search path, so that quoting, exit codes and processes are real ones.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .table_of_times import RUNNER, result_line, retimed
from .transport import Stream

if TYPE_CHECKING:
    from .emulated_phone import EmulatedPhone

RUN_FAULTS = ("line_noise", "drop_in_run", "drop_in_result", "garbage", "truncated_result", "hang", "crash", "reboot")
_DISTURBING = ("line_noise", "drop_in_run", "hang", "crash", "reboot")
_MAPPED = (b"/data/local/tmp", b"/sys/class/kgsl", b"/proc/sys/kernel/random/boot_id")
_STDOUT, _STDERR, _EXIT = 1, 2, 3


def serve_shell(phone: "EmulatedPhone", command: str, stream: Stream, *, framed: bool) -> None:
    """Run one command.

    Args:
        phone: Where.
        command: As the host sent it.
        stream: The opened service.
        framed: Second version: output and errors apart, and an exit code.
    """
    _Run(phone, command, stream, framed=framed).serve()


class _Run:
    """One command on the phone."""

    def __init__(self, phone: "EmulatedPhone", command: str, stream: Stream, *, framed: bool) -> None:
        self._phone, self._command, self._stream, self._framed = phone, command, stream, framed
        program, *self._words = self._runner_words() or [""]
        self._stands_in = bool(self._words) and phone.locate(program).read_bytes() == RUNNER.encode()

    def serve(self) -> None:
        phone, fault = self._phone, self._fault()
        phone.commands.append(self._command)
        if self._stands_in:
            self._prepare(hold=fault in _DISTURBING)
        process = self._start()
        if fault in _DISTURBING:
            self._disturb(fault)
        if fault in ("drop_in_result", "garbage", "truncated_result"):
            self._send_damaged(fault, self._output(process))
        elif self._words and not self._stands_in and phone.table is not None:
            output, newline, end = self._output(process).rpartition(b"\nACT-EXIT")
            self._send(retimed(phone.table, output, self._words, phone.locate) + newline + end)
        else:
            self._pump_all(process)
        code = process.wait()
        if self._framed:
            self._stream.write(struct.pack("<BIB", _EXIT, 1, code % 256 if code >= 0 else 128 - code))

    def _fault(self) -> str:
        """What is to go wrong with this command."""
        due = bool(self._words) and (self._words[0] != "devices" or self._phone.faults_at_devices)
        return next((name for name in RUN_FAULTS if due and self._phone.take(name)), "")

    def _runner_words(self) -> list[str]:
        """The runner's path and its arguments; empty for other commands."""
        if "--nonce" not in self._command:
            return []
        words = shlex.split(self._command.partition(";")[0])
        return words[next(index for index, word in enumerate(words) if "act/runner-" in word) :]

    def _prepare(self, *, hold: bool) -> None:
        """Work out what the runner's stand-in will say, and whether it is to wait."""
        phone, words = self._phone, self._words
        assert phone.table is not None
        hidden = phone.needs_search_path and "LD_LIBRARY_PATH=" not in self._command
        line = result_line(phone.table, words, phone.locate, backends=() if hidden else phone.backends)
        if phone.heats_up and words[0] == "time":
            phone.set_state(status=1, skin=43.0)
        phone.answer(f"result-{words[-1]}", line)
        holding = phone.root / "answers" / "hold"
        if hold:
            holding.touch()
        else:
            holding.unlink(missing_ok=True)

    def _start(self) -> "subprocess.Popen[bytes]":
        phone, text, root = self._phone, self._command.encode(), str(self._phone.root)
        if phone.emulator and self._words:
            emulator = shlex.join(phone.emulator).encode()
            text = re.sub(rb" (\S+/act/runner-\w+ )", lambda match: b" %s %s" % (emulator, match[1]), text)
        if not phone.keeps_programs:
            text = text.replace(b"ACT_KERNEL_CACHE=", b"NO_KERNEL_CACHE=")
        for name in _MAPPED:
            text = text.replace(name, root.encode() + name)
        path = f"{root}/bin:{os.environ['PATH']}"
        process = subprocess.Popen(
            [b"/bin/sh", b"-c", text],
            env={**os.environ, **self._phone.environment, "PATH": path, "PHONE": root},
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if self._framed else subprocess.STDOUT,
            start_new_session=True,
        )
        self._phone.processes.append(process)
        return process

    def _pump_all(self, process: "subprocess.Popen[bytes]") -> None:
        pipes = ((process.stdout, _STDOUT), (process.stderr, _STDERR))
        pumps = [
            threading.Thread(target=self._pump, args=(pipe, kind), daemon=True)
            for pipe, kind in pipes
            if pipe is not None
        ]
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()

    def _pump(self, pipe, kind: int) -> None:
        """Pass output on by lines; what nobody reads any more is thrown away, as the kernel's pipe would be."""
        for line in pipe:
            with contextlib.suppress(Exception):
                self._send(self._unmapped(line), kind)

    def _unmapped(self, data: bytes) -> bytes:
        return data.replace(str(self._phone.root).encode(), b"")

    def _send(self, data: bytes, kind: int = _STDOUT) -> None:
        self._stream.write(struct.pack("<BI", kind, len(data)) + data if self._framed else data.replace(b"\n", b"\r\n"))

    def _disturb(self, fault: str) -> None:
        """Do something to the runner once it has started."""
        phone, pid = self._phone, self._runner_pid()
        if fault == "crash":
            os.kill(pid, signal.SIGSEGV)
        elif fault == "hang":
            os.kill(pid, signal.SIGSTOP)
        elif fault == "reboot":
            os.kill(pid, signal.SIGKILL)
            shutil.rmtree(phone.root / "proc")
            (phone.root / "proc/sys/kernel/random").mkdir(parents=True)
            phone.boot()
            self._stream.drop()
        elif fault == "line_noise":
            self._stream.send_noise()
        else:
            self._stream.drop()

    def _runner_pid(self) -> int:
        limit = time.monotonic() + 10
        while time.monotonic() < limit:
            for path in self._phone.locate("/data/local/tmp/act").glob("run-*/pid"):
                text = path.read_text().strip()
                with contextlib.suppress(OSError):
                    if text and Path(f"/proc/{text}/cmdline").read_bytes().count(b"act/runner-"):
                        return int(text)
            time.sleep(0.002)
        raise AssertionError("no runner was started")

    def _output(self, process: "subprocess.Popen[bytes]") -> bytes:
        return self._unmapped(process.communicate()[0])

    def _send_damaged(self, fault: str, output: bytes) -> None:
        half = output[: output.index(b"RESULT") + 40]
        if fault == "drop_in_result":
            self._send(half)
            self._stream.drop()
        elif fault == "garbage":
            noise = bytes(range(256)) + b"\nRESULT 0 0 0 {}\n\xff\xfe"
            self._send(noise + b"\n" + output)
        else:
            self._send(half + output[output.rindex(b"\n", 0, -1) :])
