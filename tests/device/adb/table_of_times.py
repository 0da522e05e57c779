"""What act-runner says on a phone whose kernels take the times of a table.

The table is microseconds for every kernel, or microseconds by kernel key (of the latency database) or kernel name, with
``*`` for the rest. One inference takes the sum of its kernels, and every sample is the same, so that a search repeats.
``result_line`` computes no outputs: ``verify`` finds what the package expects, ``run`` writes zeros. ``retimed`` puts
the table's times in the place of those that a real runner measured, after it has computed and verified the outputs.
"""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from act.device.database import kernel_key
from act.device.package_format import Package, read_package

RUNNER = """#!/bin/sh
# Stands in for act-runner: the phone has worked out the result beforehand.
for word; do nonce=$word; done
while [ -e "$PHONE/answers/hold" ]; do sleep 0.02; done
exec cat "$PHONE/answers/result-$nonce"
"""
DEVICE = {
    "id": "opencl:0",
    "platform": "QUALCOMM Snapdragon(TM)",
    "platform_version": "OpenCL 2.0 QUALCOMM build: commit #3a11e12",
    "name": "QUALCOMM Adreno(TM) 640",
    "vendor": "QUALCOMM",
    "version": "OpenCL 2.0 Adreno(TM) 640",
    "driver": "OpenCL 2.0 QUALCOMM build: commit #3a11e12 changeid #I1dc36d7bd7 Compiler E031.37.12.01",
    "type": "gpu",
    "compute_units": 2,
    "global_memory_bytes": 3911536640,
    "max_allocation_bytes": 977884160,
    "local_memory_bytes": 32768,
    "max_work_group_size": 1024,
    "base_alignment_bytes": 128,
    "has_fp16": True,
}

REFERENCE_MS = 0.1
"""Of the reference package, before and after every candidate."""

Table = float | Mapping[str, float]


def result_line(
    table: Table, words: list[str], locate: Callable[[str], Path], *, backends: Sequence[str] = ("opencl",)
) -> str:
    """The line that the runner prints.

    Args:
        table: Microseconds.
        words: Command, package, and options with their values.
        locate: Where a path of the phone lies here.
        backends: Those for which the phone has a library.
    """
    options = _options(words)
    if words[0] == "devices" and words[1] not in backends:
        answer = {"status": "no_device", "message": f"no {words[1]} library could be opened"}
    else:
        answer = {"status": "ok", **_answer(table, words[:2], options, locate)}
    return _line(options["--nonce"], answer)


def retimed(table: Table, output: bytes, words: list[str], locate: Callable[[str], Path]) -> bytes:
    """A real runner's output, with the phone's name and the table's times; a failure stays as it is."""
    lines = output.decode(errors="replace").splitlines()
    found = next((line for line in lines if line.startswith("RESULT ")), None)
    result = json.loads(found.split(" ", 4)[4]) if found is not None else {}
    if found is None or result["status"] != "ok":
        return output
    options = _options(words)
    if words[0] == "devices":
        result["devices"] = [{**DEVICE, "id": device["id"]} for device in result["devices"][:1]]
    else:
        result["device"] = {**DEVICE, "id": result["device"]["id"]}
    if words[0] == "time":
        result |= _samples(table, read_package(locate(words[1])), options)
    return _line(options["--nonce"], result).encode()


def _line(nonce: str, result: Mapping[str, Any]) -> str:
    content = json.dumps(result)
    return f"RESULT {nonce} {len(content)} {zlib.crc32(content.encode()):08x} {content}\n"


def _options(words: list[str]) -> dict[str, str]:
    named = next(index for index, text in enumerate(words) if text.startswith("--"))
    return dict(zip(words[named::2], words[named + 1 :: 2], strict=True))


def _samples(table: Table, package: Package, options: Mapping[str, str]) -> dict[str, Any]:
    steps = _times_us(table, package)
    runs, bursts, total = int(options["--runs"]), int(options["--bursts"]), sum(steps) / 1000
    samples = {"single_ms": [total] * runs, "burst_ms": [total] * bursts, "burst_runs": 10}
    reference = {
        f"reference_{when}_ms": [REFERENCE_MS] * 25 for when in ("before", "after") if "--reference" in options
    }
    return {
        **samples,
        **reference,
        "step_us": steps if int(options["--profile"]) else [],
        "warmup_runs": int(options["--warmup"]),
        "warmup_ms": float(options["--warmup-ms"]),
        "is_stable": True,
        "timed_s": (runs + 10 * bursts) * total / 1000,
        "other_cpu_s": 0.0,
        "cores": 8,
        "reference_ms": sum(map(sum, reference.values())),
    }


def _answer(
    table: Table, words: list[str], options: Mapping[str, str], locate: Callable[[str], Path]
) -> dict[str, Any]:
    command, name = words
    if command == "devices":
        return {"devices": [{**DEVICE, "id": f"{name}:0"}]}
    package = read_package(locate(name))
    result = {
        "target": package.target,
        "backend": package.backend,
        "steps": len(package.steps),
        "arena_bytes": package.arena_bytes,
        "weight_bytes": len(package.weights),
        "device": DEVICE,
        "build_ms": 1.0,
    }
    if command == "run":
        runs = locate(options["--input"]).stat().st_size // package.verification_input.nbytes
        locate(options["--output"]).write_bytes(bytes(runs * package.verification_output.nbytes))
        return {**result, "runs": runs}
    result["verified_error"] = 0.0
    if command == "time":
        result |= _samples(table, package, options)
    return result


def _times_us(table: Table, package: Package) -> list[float]:
    """Of each step."""
    if not isinstance(table, Mapping):
        return [float(table)] * len(package.steps)
    names = [package.kernels[step.kernel].name for step in package.steps]
    keys = [kernel_key(package, index) for index in range(len(package.steps))]
    rest = table.get("*", 1.0)
    return [float(table.get(key, table.get(name, rest))) for key, name in zip(keys, names, strict=True)]
