"""Runs ``act-runner`` on a phone, and leaves there only files that a later run uses again.

Everything lies in one folder of ``/data/local/tmp``, the only place where the shell's user may write and execute:
``runner-SHA256`` and ``package-SHA256``, named and checked by content, ``kernel-HASH``, what the phone's driver has
built, and ``run-WORD`` with the process id, inputs and outputs of one run, which goes when the run ends, or at the next
contact with the phone.
"""

import contextlib
import hashlib
import os
import secrets
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ..errors import CandidateError
from ..runner import parse_result, raise_failure
from ..runtime.android import ANDROID_ABIS, build_android
from .client import AdbClient, ShellResult
from .failures import AdbTimeoutError, PhoneError, RunnerCrashError, TransientError, UnusablePhoneError
from .phone import PhoneProperties

FOLDER: Final = "/data/local/tmp/act"
KEPT: Final = 8
"""Packages (and runners) that stay on a phone, the newest ones; 64 times as many built programs."""
_RESULT_BYTES: Final = 32 << 20
_TIDY: Final = r"""
folder=$1 kept=$2
shift 2
mkdir -p "$folder" && cd "$folder" || exit 1
for run in run-*; do
  [ -d "$run" ] || continue
  pid=
  { read -r pid <"$run/pid"; } 2>/dev/null
  if [ -n "$pid" ] && grep -q "$folder/runner-" "/proc/$pid/cmdline" 2>/dev/null; then kill -9 "$pid"; fi
  rm -rf "$run"
done
for part in *.part-*; do
  if [ -e "$part" ]; then rm -f "$part"; fi
done
boot=
{ read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null
echo "boot $boot"
for name; do
  if [ -e "$name" ]; then sha256sum "$name" && touch "$name"; fi
done
for kind in runner package kernel; do
  most=$kept
  if [ "$kind" = kernel ]; then most=$((kept * 64)); fi
  set -- "$kind"-*
  if [ $# -gt "$most" ]; then
    ls -t | grep "^$kind-" | tail -n +$((most + 1)) | while read -r name; do rm -f "$name"; done
  fi
done
exit 0
"""
_RUN: Final = 'mkdir -p "$1" && echo $$ >"$1/pid" && cd "$1" && shift && exec "$@"'


def runner_for(properties: PhoneProperties) -> Path:
    """The runner that a phone can execute: ``$ACT_PHONE_RUNNER``, else one built for the best of its ABIs.

    Raises:
        UnusablePhoneError: If there is no runner for its ABIs.
        RunnerBuildError: If it cannot be built here.
    """
    chosen = os.environ.get("ACT_PHONE_RUNNER")
    if chosen:
        return Path(chosen)
    abi = next((abi for abi in properties.abis if abi in ANDROID_ABIS), None)
    if abi is None:
        raise UnusablePhoneError(
            properties.serial,
            f"it runs programs for {', '.join(properties.abis) or 'no known ABI'}, the runner is made for "
            f"{' and '.join(ANDROID_ABIS)}: use another phone",
        )
    return build_android(abi).runner


class PhoneRunner:
    """The runner on one phone, for one package or for none.

    Args:
        client: The phone.
        runner: The program here.
        packages: What it is to run, and what else it is to find there.
        environment: Variables that it needs there.
        timeout_s: Time for a command, beyond what the command itself is asked to take.
    """

    def __init__(
        self,
        client: AdbClient,
        runner: Path,
        *,
        packages: Sequence[Path] = (),
        environment: dict[str, str] | None = None,
        timeout_s: float,
    ) -> None:
        self._client, self._timeout_s, self._environment = client, timeout_s, environment or {}
        self._program = f"{FOLDER}/{_cached_name(runner, 'runner')}"
        self._places = {package: f"{FOLDER}/{_cached_name(package, 'package')}" for package in packages}
        self._package = list(self._places.values())[:1]
        files = {self._program: runner, **{place: package for package, place in self._places.items()}}
        self._files = {Path(place).name: file for place, file in files.items()}
        self._present: set[str] = set()

    def place_of(self, package: Path) -> str:
        """Where one of the packages lies on the phone."""
        return self._places[package]

    def prepare(self) -> str:
        """Tidy up, see what is there already, and return the phone's boot id, empty if it does not tell.

        Raises:
            PhoneError: If the phone does not answer, or is full.
        """
        first, *sums = self._client.script(_TIDY, FOLDER, str(KEPT), *self._files).splitlines()
        digests = {line.split(" ")[0] for line in sums}
        self._present = {name for name in self._files if name.partition("-")[2] in digests}
        return first.partition(" ")[2]

    def tidy(self) -> None:
        """Stop and remove what runs left behind, and the oldest files beyond those that are kept.

        Raises:
            PhoneError: If the phone does not answer, or is full.
        """
        self._client.script(_TIDY, FOLDER, str(KEPT))

    def install(self) -> None:
        """Copy runner and package to the phone, unless :meth:`prepare` found them there with the same content.

        Raises:
            PhoneError: If they did not arrive.
        """
        for name, file in self._files.items():
            if name not in self._present:
                self._client.push(file, f"{FOLDER}/{name}", executable=name.startswith("runner-"))

    def call(self, command: str, *arguments: str, extra_s: float = 0.0) -> dict[str, Any]:
        """Run a command on the package and return the fields of its result.

        Raises:
            PackageError, NoDeviceError, CandidateError: As for a local runner; a run that hangs is the candidate's
                fault if the phone still answers.
            PhoneError: If the phone failed, the runner crashed, or its result did not arrive whole.
        """
        return self._call(_new_folder(), [command, *self._package, *arguments], extra_s=extra_s)

    def devices(self, backend: str) -> list[dict[str, Any]]:
        """What the runner finds on the phone.

        Raises:
            NoDeviceError: If it finds no library.
            PhoneError: As for :meth:`call`.
        """
        found: list[dict[str, Any]] = self._call(_new_folder(), ["devices", backend])["devices"]
        return found

    def run(self, inputs: Path, output: Path, *, output_bytes: int, extra_s: float) -> None:
        """Run inputs from a file through the package and write the outputs to another."""
        folder = _new_folder()
        source, back = f"{folder}/input", f"{folder}/output"
        self._client.script('mkdir -p "$1"', folder)
        self._client.push(inputs, source)
        self._call(folder, ["run", *self._package, "--input", source, "--output", back], extra_s=extra_s)
        self._client.pull(back, output, size=output_bytes)

    def _call(self, folder: str, command: list[str], *, extra_s: float = 0.0) -> dict[str, Any]:
        nonce = secrets.token_hex(8)
        variables = [f"{name}={value}" for name, value in self._environment.items()]
        full = ["sh", "-c", _RUN, "act", folder, *(["env", *variables] if variables else []), self._program]
        full += [*command, "--nonce", nonce]
        timeout_s = self._timeout_s + extra_s
        try:
            ended = self._client.shell(full, timeout_s=timeout_s, output_bytes=_RESULT_BYTES)
        except AdbTimeoutError as error:
            self._stop_hung(command[0], timeout_s, error)
            raise
        result = parse_result(ended.output, nonce)
        if result is None:
            failure = self._no_result(command[0], ended)
            if isinstance(failure, RunnerCrashError):  # a driver may have died of a program that an earlier one built
                with contextlib.suppress(PhoneError):
                    self._client.script('rm -f "$1"/kernel-*', FOLDER)
            raise failure
        raise_failure(result)
        return result

    def _stop_hung(self, command: str, timeout_s: float, error: AdbTimeoutError) -> None:
        """A phone that still answers was not the one that hung."""
        try:
            self.tidy()
        except PhoneError:
            raise error from None
        message = f"the runner did not finish '{command}' within {timeout_s:g} s and was stopped"
        raise CandidateError(f"phone {self._client.serial}: {message}", reason="hang") from error

    def _no_result(self, command: str, ended: ShellResult) -> PhoneError:
        serial, log = self._client.serial, (ended.errors.strip() or ended.output.strip())[-1000:]
        if ended.exit_code in (126, 127) or "CANNOT LINK EXECUTABLE" in log:
            return UnusablePhoneError(serial, f"it cannot start the runner: {log}")
        if ended.exit_code > 128:
            name = signal.strsignal(ended.exit_code - 128) or f"signal {ended.exit_code - 128}"
            return RunnerCrashError(serial, f"the runner crashed at '{command}' ({name})\n{log}")
        return TransientError(
            serial, f"the runner gave no whole result at '{command}' (exit code {ended.exit_code})\n{log}".rstrip()
        )


def _new_folder() -> str:
    return f"{FOLDER}/run-{secrets.token_hex(8)}"


def _cached_name(file: Path, kind: str) -> str:
    return f"{kind}-{hashlib.sha256(file.read_bytes()).hexdigest()}"
