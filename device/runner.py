"""Calls ``act-runner`` and trusts nothing it prints but a whole ``RESULT`` line with the caller's nonce."""

import json
import secrets
import signal
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .devices import RawTiming, TimingOptions
from .errors import CandidateError, DeviceError, NoDeviceError, RunnerDiedError
from .package_format import PackageError

_CANDIDATE_AT_FAULT: Final = ("build_failure", "launch_failure", "wrong_output", "out_of_memory")
_DEVICE_FIELDS: Final = (
    "name",
    "vendor",
    "platform",
    "driver",
    "version",
    "type",
    "compute_units",
    "global_memory_bytes",
    "max_work_group_size",
    "local_memory_bytes",
    "has_fp16",
)


def call_runner(
    runner: Path, arguments: Sequence[str], *, environment: Mapping[str, str], timeout_s: float
) -> dict[str, Any]:
    """Run one command and return the fields of its result.

    Raises:
        PackageError: If the runner refused the package.
        NoDeviceError: If there is no such device.
        CandidateError: If the package does not build or run, or gives a wrong output.
        RunnerDiedError: If the runner crashed.
        DeviceError: If the runner hung, or printed no whole result.
    """
    nonce = secrets.token_hex(8)
    command = [str(runner), *arguments, "--nonce", nonce]
    try:
        done = subprocess.run(
            command,
            env=dict(environment),
            capture_output=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"the runner did not finish '{arguments[0]}' within {timeout_s:g} s and was stopped"
        ) from error
    except OSError as error:
        raise DeviceError(f"the runner {runner} cannot be started: {error.strerror or error}") from error
    log = done.stderr.decode(errors="replace").strip()[-2000:]
    if done.returncode < 0:
        name = signal.strsignal(-done.returncode) or f"signal {-done.returncode}"
        raise RunnerDiedError(f"the runner crashed at '{arguments[0]}' ({name}): a driver's or a kernel's fault\n{log}")
    result = parse_result(done.stdout.decode(errors="replace"), nonce)
    if result is None:
        raise DeviceError(f"the runner printed no whole result (exit code {done.returncode})\n{log}")
    raise_failure(result)
    return result


def parse_result(text: str, nonce: str) -> dict[str, Any] | None:
    """The JSON object of the line ``RESULT <nonce> <length> <crc32> <json>``; None when it is missing or damaged."""
    for line in text.splitlines():
        parts = line.split(" ", 4)
        if len(parts) != 5 or parts[:2] != ["RESULT", nonce]:
            continue
        content = parts[4].encode()
        if parts[2] != str(len(content)) or parts[3] != f"{zlib.crc32(content):08x}":
            continue
        try:
            value = json.loads(content)
        except json.JSONDecodeError:
            continue
        if isinstance(value, dict):
            return value
    return None


def raise_failure(result: Mapping[str, Any]) -> None:
    """Raise what a result that is not ``ok`` stands for.

    Raises:
        PackageError, NoDeviceError, CandidateError, DeviceError: As for :func:`call_runner`.
    """
    status, message = result.get("status"), str(result.get("message", "no reason given"))
    if status == "ok":
        return
    if status == "bad_package":
        raise PackageError(f"the runner refuses the package: {message}")
    if status == "no_device":
        raise NoDeviceError(message)
    if status in _CANDIDATE_AT_FAULT:
        raise CandidateError(f"{str(status).replace('_', ' ')}: {message}", reason=str(status))
    raise DeviceError(f"the runner failed ({status}): {message}")


def timing_arguments(options: TimingOptions, *, reference: str | None = None) -> list[str]:
    """The arguments of ``time`` for some options.

    Args:
        options: How often to measure.
        reference: Where the reference package lies for the runner, if there is one.
    """
    values = {
        "--tolerance": options.tolerance,
        "--warmup": options.warmup,
        "--warmup-ms": options.warmup_ms,
        "--max-warmup-ms": options.max_warmup_ms,
        "--runs": options.runs,
        "--min-seconds": options.min_seconds,
        "--bursts": options.bursts,
        "--burst-runs": options.burst_runs,
        "--profile": options.profile_runs,
        "--max-seconds": options.max_seconds,
    }
    arguments = [text for name, value in values.items() for text in (name, repr(value))]
    return arguments if reference is None else [*arguments, "--reference", reference]


def raw_timing(result: Mapping[str, Any], *, before: dict[str, Any], after: dict[str, Any]) -> RawTiming:
    """The samples in the result of ``time``, with the device's state ``before`` and ``after``."""
    return RawTiming(
        single_ms=tuple(result["single_ms"]),
        burst_ms=tuple(result.get("burst_ms", ())),
        step_us=tuple(result.get("step_us", ())),
        verified_error=float(result["verified_error"]),
        build_ms=float(result["build_ms"]),
        memory_bytes=result["arena_bytes"] + result["weight_bytes"],
        warmup_runs=result["warmup_runs"],
        warmup_ms=float(result["warmup_ms"]),
        is_stable=result["is_stable"],
        timed_s=float(result["timed_s"]),
        other_cpu_s=result.get("other_cpu_s"),
        cores=result.get("cores"),
        reference_before_ms=tuple(result.get("reference_before_ms", ())),
        reference_after_ms=tuple(result.get("reference_after_ms", ())),
        reference_problem=str(result.get("reference_problem", "")),
        reference_s=float(result["reference_ms"]) / 1000,
        state={"before": before, "after": after},
    )


def device_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``DeviceInfo`` in one entry of ``devices``; id and fingerprint are the caller's."""
    return {name: values[name] for name in _DEVICE_FIELDS}
