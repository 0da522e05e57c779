"""Calls of the ``adb`` program: argument lists only, always by serial, limited in time and in output.

What is to run on the phone is an argument list, too; it is quoted here for the phone's shell. Each command ends with a
line of our own that repeats a fresh random word and gives the exit code, so that codes are right without shell protocol
2, and a command whose end did not arrive is never taken for one that succeeded.
"""

import contextlib
import hashlib
import os
import re
import secrets
import selectors
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..errors import DeviceError
from .failures import AdbTimeoutError, PhoneError, TransientError, UnusablePhoneError, classify_failure
from .program import AdbProgram

CALL_TIMEOUT_S: Final = 15.0
OUTPUT_BYTES: Final = 1 << 20
_BYTES_PER_SECOND: Final = 1 << 20  # a slow cable
_RENAME_WHOLE: Final = r"""
sum=$(sha256sum <"$1") && size=$(stat -c %s "$1") || exit 1
echo "${sum%% *} $size"
if [ "${sum%% *}" = "$3" ] && [ "$size" = "$4" ]; then chmod "$5" "$1" && mv -f "$1" "$2"; fi
"""
_STATE_NAMES: Final = "device|offline|unauthorized|authorizing|connecting|recovery|sideload|bootloader|rescue|host"


@dataclass(frozen=True, kw_only=True)
class AttachedPhone:
    """A line of ``adb devices``: ``state`` is ``device`` for one that can be used."""

    serial: str
    state: str
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ShellResult:
    """What a command on the phone gave; without shell protocol 2 its errors are among the output."""

    exit_code: int
    output: str
    errors: str


@dataclass(frozen=True, kw_only=True)
class _Ended:
    code: int
    output: bytes
    errors: bytes


def check_serial(serial: str) -> str:
    """Return a serial that is safe in an argument list.

    Raises:
        DeviceError: If it is not made of letters, digits and ``._:-``, or begins with a dash.
    """
    if re.fullmatch(r"[A-Za-z0-9._:\[\]%][A-Za-z0-9._:\[\]%-]{0,127}", serial) is None:
        raise DeviceError(f"{serial!r} is no serial: 'adb devices' lists them, as in R58M12ABCDE or 192.168.1.7:5555")
    return serial


def list_attached(adb: AdbProgram) -> list[AttachedPhone]:
    """All phones that the server knows, in whatever state.

    Raises:
        DeviceError: If the server cannot be reached or started.
    """
    ended = _call(adb, ["devices", "-l"], serial="(all)", timeout_s=2 * CALL_TIMEOUT_S)
    if ended.code != 0:
        problem = classify_failure("(all)", ended.code, ended.errors.decode(errors="replace")).problem
        raise DeviceError(f"adb cannot list phones: {problem}")
    lines = ended.output.decode(errors="replace").splitlines()
    return [phone for line in lines if (phone := _parse_attached(line)) is not None]


def _parse_attached(line: str) -> AttachedPhone | None:
    match = re.fullmatch(rf"(\S+)\s+({_STATE_NAMES}|no permissions.*?)(?:\s+(\S+:.*))?", line.strip())
    if match is None:
        return None
    serial, state, details = match.groups(default="")
    pairs = dict(pair.split(":", 1) for pair in details.split() if ":" in pair)
    return AttachedPhone(serial=serial, state=state, details=pairs)


class AdbClient:
    """One phone through one adb program.

    Args:
        adb: The program.
        serial: The phone.
        timeout_s: Time for a call, where none is given.

    Raises:
        DeviceError: If the serial is not safe to use.
    """

    def __init__(self, adb: AdbProgram, serial: str, *, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self.adb = adb
        self.serial = check_serial(serial)
        self._timeout_s = timeout_s

    def shell(
        self, arguments: Sequence[str], *, timeout_s: float | None = None, output_bytes: int = OUTPUT_BYTES
    ) -> ShellResult:
        """Run a command on the phone and wait for its end.

        Args:
            arguments: Program and arguments, quoted here; none may hold a zero byte.
            timeout_s: After it the call is stopped, which need not stop the command on the phone.
            output_bytes: More output is an error.

        Raises:
            AdbTimeoutError: If it did not end in time.
            PhoneError: If the phone did not run it to its end.
        """
        marker = f"ACT-EXIT-{secrets.token_hex(8)}"
        command = f"{shlex.join(arguments)}; act_code=$?; printf '\\n%s %d\\n' {marker} $act_code; exit $act_code"
        call = ["-s", self.serial, "shell", command]
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        ended = _call(self.adb, call, serial=self.serial, timeout_s=limit_s, limit=output_bytes)
        output = ended.output.decode(errors="replace").replace("\r\n", "\n")
        errors = ended.errors.decode(errors="replace").replace("\r\n", "\n")
        match = re.search(rf"\n{marker} (\d{{1,3}})\n", output)
        if match is None:
            raise classify_failure(self.serial, ended.code, f"{errors}\n{output[-2000:]}")
        return ShellResult(exit_code=int(match[1]), output=output[: match.start()], errors=errors)

    def script(self, text: str, *arguments: str) -> str:
        """Run a script of ours, with arguments as ``$1`` …, and return its output.

        Raises:
            PhoneError: If it fails, by what it says.
        """
        result = self.shell(["sh", "-c", text, "act", *arguments])
        if result.exit_code != 0:
            raise classify_failure(self.serial, result.exit_code, f"{result.errors}\n{result.output[-2000:]}")
        return result.output

    def push(self, source: Path, target: str, *, executable: bool = False) -> None:
        """Copy a file to the phone; it has its name only when it is there whole, by size and SHA-256.

        Raises:
            TransientError: If what arrived is not what was sent.
            PhoneError: If it did not arrive.
        """
        content = source.read_bytes()
        part = f"{target}.part-{secrets.token_hex(8)}"
        try:
            self._transfer(["push", str(source.absolute()), part], size=len(content))
            self._rename_whole(part, target, content, mode="755" if executable else "644")
        except PhoneError:
            with contextlib.suppress(PhoneError):
                self.remove(part)
            raise

    def pull(self, source: str, target: Path, *, size: int) -> None:
        """Copy a file of known size from the phone; it has its name only when it is here whole.

        Raises:
            PhoneError: If it has another size, or did not arrive.
        """
        found = self.script('stat -c %s "$1"', source).strip()
        if found != str(size):
            raise TransientError(self.serial, f"{source} has {found} bytes there, expected are {size}")
        part = target.with_name(f"{target.name}.part-{os.getpid()}")
        try:
            self._transfer(["pull", source, str(part.absolute())], size=size)
            if part.stat().st_size != size:
                raise TransientError(self.serial, f"{source} arrived with {part.stat().st_size} of {size} bytes")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def features(self) -> set[str]:
        """What the phone's adbd can do, in adb's words, such as ``shell_v2``.

        Raises:
            PhoneError: If the phone does not answer.
        """
        call = ["-s", self.serial, "features"]
        ended = _call(self.adb, call, serial=self.serial, timeout_s=self._timeout_s)
        if ended.code != 0:
            raise classify_failure(self.serial, ended.code, ended.errors.decode(errors="replace"))
        return set(ended.output.decode(errors="replace").split())

    def remove(self, path: str) -> None:
        """Remove a file or folder of the phone, if it is there."""
        self.script('rm -rf -- "$1"', path)

    def _transfer(self, arguments: list[str], *, size: int) -> None:
        timeout_s = 2 * self._timeout_s + size / _BYTES_PER_SECOND
        ended = _call(self.adb, ["-s", self.serial, *arguments], serial=self.serial, timeout_s=timeout_s)
        if ended.code != 0:
            text = (ended.errors + b"\n" + ended.output).decode(errors="replace")
            raise classify_failure(self.serial, ended.code, text)

    def _rename_whole(self, part: str, target: str, content: bytes, *, mode: str) -> None:
        expected = hashlib.sha256(content).hexdigest()
        said = self.script(_RENAME_WHOLE, part, target, expected, str(len(content)), mode).split()
        if said != [expected, str(len(content))]:
            raise TransientError(
                self.serial,
                f"a file of {len(content)} bytes arrived damaged: SHA-256 and size there are {' '.join(said)[:90]!r}, "
                f"the SHA-256 here is {expected}",
            )


def _call(adb: AdbProgram, arguments: list[str], *, serial: str, timeout_s: float, limit: int = OUTPUT_BYTES) -> _Ended:
    """Run adb; what it started is stopped at the limits of time and output."""
    try:
        process = subprocess.Popen(
            adb.command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except (OSError, ValueError) as error:
        raise UnusablePhoneError(serial, f"{adb.path} cannot be started: {error}") from error
    what = next((word for word in arguments if word in ("shell", "push", "pull", "devices")), arguments[0])
    with process:
        try:
            output, errors = _read_both(process, deadline=time.monotonic() + timeout_s, limit=limit)
            return _Ended(code=process.wait(timeout=CALL_TIMEOUT_S), output=output, errors=errors)
        except (TimeoutError, subprocess.TimeoutExpired):
            raise AdbTimeoutError(serial, f"'adb {what}' did not end within {timeout_s:g} s and was stopped") from None
        except OverflowError:
            raise TransientError(serial, f"'adb {what}' printed more than {limit} bytes and was stopped") from None
        finally:
            process.kill()


def _read_both(process: "subprocess.Popen[bytes]", *, deadline: float, limit: int) -> tuple[bytes, bytes]:
    """Both outputs to their end.

    Raises:
        TimeoutError: At the deadline.
        OverflowError: When one is longer than the limit.
    """
    assert process.stdout is not None and process.stderr is not None
    texts = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in texts:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                pipe = process.stdout if key.fileobj is process.stdout else process.stderr
                data = os.read(key.fd, 65536)
                texts[pipe] += data
                if len(texts[pipe]) > limit:
                    raise OverflowError
                if not data:
                    selector.unregister(pipe)
    return bytes(texts[process.stdout]), bytes(texts[process.stderr])
