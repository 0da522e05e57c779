"""Latency of an ONNX file in onnxruntime on this machine's processor: what a network costs without a GPU.

A line beside a local device's, of another kind than that: the two are never one ratio.
"""

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ..device.package_format import Package

WARMUP_RUNS = 5


@dataclass(frozen=True, kw_only=True)
class CpuLatency:
    """Wall-clock time of single inferences, milliseconds."""

    version: str
    threads: int
    batch: int
    p50: float
    p90: float
    samples_ms: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def cpu_latency(onnx: Path, package: Package, *, runs: int, max_seconds: float) -> CpuLatency:
    """Time an ONNX file on the verification input of the package that was compiled from it.

    Args:
        onnx: The file.
        package: Gives shapes and values of the inputs.
        runs: How many inferences to time, after a few that are not.
        max_seconds: Stop after so long, with three samples at least.

    Raises:
        ValueError: If the file's inputs are not the package's.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    inputs = _inputs(session, package)
    for _ in range(WARMUP_RUNS):
        session.run(None, inputs)
    samples: list[float] = []
    start = time.perf_counter()
    while len(samples) < runs and (len(samples) < 3 or time.perf_counter() - start < max_seconds):
        begin = time.perf_counter()
        session.run(None, inputs)
        samples.append(1000 * (time.perf_counter() - begin))
    p50, p90 = np.percentile(samples, (50, 90))
    return CpuLatency(
        version=onnxruntime.__version__,
        threads=options.intra_op_num_threads,
        batch=package.batch,
        p50=float(p50),
        p90=float(p90),
        samples_ms=tuple(samples),
    )


def _inputs(session: onnxruntime.InferenceSession, package: Package) -> dict[str, Any]:
    names = [entry.name for entry in session.get_inputs()]
    if len(names) != len(package.inputs):
        raise ValueError(f"the ONNX file has {len(names)} inputs, the package {len(package.inputs)}")
    values, found, start = package.verification_input.reshape(-1), {}, 0
    for name, index in zip(names, package.inputs, strict=True):
        shape = package.buffers[index].shape
        found[name] = values[start : start + int(np.prod(shape))].reshape(shape).astype(np.float32)
        start += found[name].size
    return found
