#!/usr/bin/env python3
"""Stands in for act-runner on an emulated phone: the same commands and results, with times from a table.

``$ACT_TABLE`` is microseconds for every kernel, or a JSON object of microseconds by kernel key (of the latency
database) or kernel name, with ``*`` for the rest. One inference takes the sum of its kernels. Outputs are not computed:
``verify`` finds what the package expects, ``run`` writes zeros. Every sample is the same, so that a search repeats.
"""

import json
import os
import sys
import zlib
from pathlib import Path

sys.path[:0] = os.environ["ACT_PYTHONPATH"].split(os.pathsep)

from act.device.database import kernel_key  # noqa: E402 - the path is set before
from act.device.package_format import read_package  # noqa: E402

DEVICE = {
    "id": "opencl:0",
    "index": 0,
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


def times_us(package):
    """Of each step."""
    table = json.loads(os.environ["ACT_TABLE"])
    if not isinstance(table, dict):
        return [float(table)] * len(package.steps)
    names = [package.kernels[step.kernel].name for step in package.steps]
    keys = [kernel_key(package, index) for index in range(len(package.steps))]
    return [float(table.get(key, table.get(name, table.get("*", 1.0)))) for key, name in zip(keys, names, strict=True)]


def answer(command, values, options):
    if command == "devices":
        return {"devices": [DEVICE] if values == ["opencl"] else []}
    package = read_package(Path(values[0]))
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
        size = package.verification_input.nbytes
        runs = os.path.getsize(options["--input"]) // size
        Path(options["--output"]).write_bytes(bytes(runs * package.verification_output.nbytes))
        return {**result, "runs": runs}
    result["verified_error"] = 0.0
    if command == "time":
        steps = times_us(package)
        total = sum(steps) / 1000
        runs, bursts = int(options["--runs"]), int(options["--bursts"])
        samples = {"single_ms": [total] * runs, "burst_ms": [total] * bursts, "burst_runs": 10}
        result |= {**samples, "step_us": steps if int(options["--profile"]) else []}
    return result


def main(arguments):
    command, *rest = arguments
    named = next((index for index, text in enumerate(rest) if text.startswith("--")), len(rest))
    options = dict(zip(rest[named::2], rest[named + 1 :: 2], strict=True))
    content = json.dumps({"status": "ok", **answer(command, rest[:named], options)})
    print("RESULT", options["--nonce"], len(content), f"{zlib.crc32(content.encode()):08x}", content)


main(sys.argv[1:])
