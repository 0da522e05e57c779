"""Delivery: the files of a finished run, each checked to equal the one before it.

masked network = compact network = ONNX in onnxruntime = package on a device; here the last two, on random and on real
inputs. A difference above its tolerance is a bug and stops the run, save where fp16 storage is too coarse or too small.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from ..compiler.compile import CompiledPackage, compile_onnx
from ..compiler.errors import CompileError, OnnxInputError
from ..compiler.importer import prepare_onnx
from ..compiler.kernel_choice import UNTUNED, TunedKernels
from ..compiler.targets import Target
from ..device.devices import Device, DeviceError, open_device
from ..device.harness import LatencyStats, measure, run_inputs
from ..device.local import list_local_devices
from ..device.precision import TOLERANCES, precision_advice
from ..models.preprocessing import Preprocessing
from .capture import CapturedNetwork
from .equality_chain import ONNX_TOLERANCE, EqualityCheck, EqualityError, compare_arrays, outputs_of
from .export import export_onnx, make_onnx
from .progress import Progress

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """One network as ONNX and package, measured where a device is at hand; `problem` says why there is no package."""

    onnx: Path
    package: CompiledPackage | None
    problem: str | None = None
    latency: LatencyStats | None = None
    equality: tuple[EqualityCheck, ...] = ()


def export_checked(
    network: CapturedNetwork, path: Path, preprocessing: Preprocessing, inputs: FloatArray
) -> EqualityCheck:
    """Write the ONNX file and compare it, in plain onnxruntime, with the network."""
    export_onnx(network, path, preprocessing=preprocessing)
    expected = outputs_of(network.module, torch.from_numpy(inputs))
    return compare_arrays("compact = onnxruntime", run_onnx(path, inputs), expected, tolerance=ONNX_TOLERANCE)


def run_onnx(path: Path, inputs: FloatArray) -> FloatArray:
    """First output of an ONNX file in plain onnxruntime, on the CPU."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: inputs})[0])


def compile_checked(
    onnx: Path,
    output: Path,
    target: Target,
    device: Device | None,
    inputs: FloatArray,
    *,
    runs: int,
    tuned: TunedKernels = UNTUNED,
) -> Delivered:
    """Compile for `target`; on a device, compare with onnxruntime and measure.

    A network that the compiler does not take, or that half floats are too coarse for, keeps its ONNX file: training was
    not for nothing.
    """
    try:
        package = compile_onnx(onnx, target, output=output, tuned=tuned)
    except CompileError as error:
        return Delivered(onnx=onnx, package=None, problem=str(error))
    if device is None:
        return Delivered(onnx=onnx, package=package)
    found = run_inputs(output, device, inputs)
    pair, tolerance = f"onnxruntime = package on {device.id}", TOLERANCES[target.precision]
    try:
        check = compare_arrays(pair, found, run_onnx(onnx, inputs), tolerance=tolerance)
    except EqualityError as error:
        if target.precision == "fp32":
            raise
        output.unlink()
        return Delivered(onnx=onnx, package=None, problem=f"{error}{precision_advice(target.precision)}")
    stats = measure(output, device, runs=runs)
    return Delivered(onnx=onnx, package=package, latency=stats, equality=(check,))


def proving_device(asked: str | None, target: Target, progress: Progress) -> Device | None:
    """The device that was named, else the first local one for the target's packages, else None with a warning."""
    if asked is not None:
        return open_device(asked)
    try:
        local = list_local_devices(target.backend)
        if local:
            return open_device(local[0].id)
        problem = f"no local device for {target.backend} packages"
    except DeviceError as error:
        problem = str(error)
    progress.warn(f"the package is not run here: {problem} (see 'act doctor')")
    return None


def compile_problem(network: CapturedNetwork) -> str | None:
    """Why the compiler will not take a network, known before any work is done; None where nothing speaks against it."""
    try:
        prepare_onnx(make_onnx(network), Path("the network"))
    except (CompileError, OnnxInputError) as error:
        return str(error)
    return None


def kernel_rows(package: CompiledPackage | None, stats: LatencyStats | None) -> list[dict[str, Any]]:
    """One row a kernel for the report: what it computes, how, and its modelled and measured microseconds."""
    if package is None:
        return []
    measured = stats.per_kernel_us if stats is not None else [None] * len(package.steps)
    return [
        {
            "name": step.name,
            "source_operator": step.source_op,
            "lowering": step.lowering,
            "reason": step.reason,
            "tile": step.tile,
            "tile_reason": step.tile_reason,
            "macs": step.macs,
            "modelled_us": step.modelled_us,
            "measured_us": value,
        }
        for step, value in zip(package.steps, measured, strict=True)
    ]
