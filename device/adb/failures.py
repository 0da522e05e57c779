"""What goes wrong with a phone, in four classes, and what is done about each.

==================  ==========================================  ====================================================
class               type                                        policy
==================  ==========================================  ====================================================
transient           ``TransientError``                          try again after a growing wait, then give the phone up
device bad          ``UnusablePhoneError``, ``NoDeviceError``   give the phone up until someone has looked at it
candidate bad       ``CandidateError``, ``PackageError``        reject the candidate; the phone is fine
measurement bad     ``MeasurementError``                        let the phone cool down and repeat
==================  ==========================================  ====================================================

None of them carries a latency: a failed run is never a slow run.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from ..errors import CandidateError, DeviceError
from ..package_format import PackageError

Result = TypeVar("Result")
Policy = Literal["retry", "quarantine", "reject", "repeat"]


class PhoneError(DeviceError):
    """A phone failed.

    Attributes:
        serial: Which one.
        problem: The message without the serial.
    """

    def __init__(self, serial: str, problem: str) -> None:
        super().__init__(f"phone {serial}: {problem}")
        self.serial = serial
        self.problem = problem


class TransientError(PhoneError):
    """The connection failed; the next attempt may succeed."""


class AdbTimeoutError(TransientError):
    """A call did not end in time and was stopped; what it had started on the phone may still run."""


class RunnerCrashError(TransientError):
    """The runner died of a signal: once may be chance, twice is the candidate's fault."""


class UnusablePhoneError(PhoneError):
    """The phone needs someone's attention; the message says for what."""


class MeasurementError(PhoneError):
    """The phone is in no state to be timed now: hot, throttled, or busy with something else."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Seconds to wait before each further attempt: after a lost connection, and to cool down."""

    retry_s: tuple[float, ...] = (0.5, 2.0, 8.0, 30.0, 60.0)  # in all, what a restart of the phone takes
    cool_down_s: tuple[float, ...] = (5.0, 30.0, 60.0, 120.0, 240.0)


_UNUSABLE: Final = (
    (
        r"unauthorized|failed to authenticate",
        "it has not authorised this computer: unlock it and accept the key that it shows (if it shows none, revoke USB "
        "debugging authorisations in its developer options and plug it in again)",
    ),
    (
        r"no permissions|insufficient permissions",
        "this user may not open its USB device: add a udev rule (on Debian and Ubuntu: apt-get install "
        "android-sdk-platform-tools-common), join the group plugdev, and plug it in again",
    ),
    (r"No space left on device", "its storage is full: free some space (act's files are in /data/local/tmp/act)"),
    (r"Read-only file system", "its /data is read-only: restart it"),
    (
        r"Permission denied|Operation not permitted",
        "it refuses access to /data/local/tmp: see 'adb shell ls -ld' of it",
    ),
    (r"^(device is in )?(recovery|sideload|bootloader|rescue)\b", "it is not booted into Android: restart it"),
    (
        r"server version .* doesn't match|server is out of date",
        "another version of adb runs the server: use one version for both",
    ),
)


def classify_failure(serial: str, exit_code: int, output: str) -> PhoneError:
    """The error that an adb call's exit code and messages stand for.

    What is not known to need attention counts as transient: another attempt does no harm, and the attempts end.

    Args:
        serial: The phone that was called.
        exit_code: adb's own.
        output: What adb wrote, its errors first.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("* daemon")]
    said = (lines[0] if lines else f"adb ended with code {exit_code} and no message")[:300]
    for pattern, advice in _UNUSABLE:
        if re.search(pattern, output, re.IGNORECASE | re.MULTILINE):
            return UnusablePhoneError(serial, f"{advice} ({said})")
    return TransientError(serial, said)


def policy_of(error: Exception) -> Policy:
    """What to do about an error of a device."""
    if isinstance(error, TransientError):
        return "retry"
    if isinstance(error, MeasurementError):
        return "repeat"
    if isinstance(error, (CandidateError, PackageError)):
        return "reject"
    return "quarantine"


def follow_policy(
    serial: str, call: Callable[[], Result], *, patience: Patience, sleep: Callable[[float], None] = time.sleep
) -> Result:
    """Call until it succeeds or the patience is at an end.

    Raises:
        UnusablePhoneError: If the connection failed in every attempt.
        MeasurementError: If the phone was in no state to be timed after every wait.
        CandidateError: If the runner crashed twice.
        Exception: Whatever else the call raises, at once.
    """
    retries, waits, crashes = list(patience.retry_s), list(patience.cool_down_s), 0
    while True:
        try:
            return call()
        except TransientError as error:
            crashes += isinstance(error, RunnerCrashError)
            if crashes == 2:
                raise CandidateError(str(error), reason="crash") from error
            if not retries:
                attempts = len(patience.retry_s) + 1
                raise UnusablePhoneError(
                    serial, f"it failed {attempts} times, the last time with: {error.problem}; check cable and phone"
                ) from error
            sleep(retries.pop(0))
        except MeasurementError:
            if not waits:
                raise
            sleep(waits.pop(0))
