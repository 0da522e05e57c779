"""Measures a package on a device and runs inputs through it.

The output is verified before anything is timed. A latency is the wall-clock time of one inference, from first enqueue
to the end of its last kernel; input and output stay on the device. Kernel times come from a pass of their own, because
timestamps slow the device down; their sum is not the latency.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .devices import CandidateError, Device, RawTiming, TimingOptions
from .package_format import Package, PackageError, read_package
from .precision import TOLERANCES, Precision, precision_advice


@dataclass(frozen=True, kw_only=True)
class LatencyStats:
    """One measurement; compares with others of the same ``fingerprint``, ``batch`` and ``precision`` only.

    Attributes:
        kind: Always ``measured``.
        device: Id of the device.
        device_name: What the device calls itself.
        fingerprint: Hardware with driver.
        batch: Images of one inference.
        precision: ``fp32`` or ``fp16``.
        p50: Median of ``samples_ms``.
        p90: 90th percentile of ``samples_ms``.
        mean: Mean of ``samples_ms``.
        samples_ms: Single inferences, in the order taken.
        burst_p50: Median milliseconds of one inference when many are enqueued back to back; None if not measured.
        burst_ms: Its samples.
        per_kernel_us: Median device time of each step of the package; empty if not profiled.
        verified_error: Largest difference to the expected output, relative to its largest value.
        build_ms: Time the device's compiler took (a driver may have had the kernels in its cache).
        memory_bytes: Arena and weights.
        state: State of the device ``before`` and ``after``.
    """

    kind: Literal["measured"] = "measured"
    device: str
    device_name: str
    fingerprint: str
    batch: int
    precision: Precision
    p50: float
    p90: float
    mean: float
    samples_ms: tuple[float, ...]
    burst_p50: float | None
    burst_ms: tuple[float, ...]
    per_kernel_us: tuple[float, ...]
    verified_error: float
    build_ms: float
    memory_bytes: int
    state: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LatencyStats":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If a field is missing or unknown.
        """
        names = {entry.name for entry in fields(cls)}
        if set(values) != names or values["kind"] != "measured":
            raise ValueError(f"not a measurement: fields {sorted(set(values) ^ names)} are missing or unknown")
        arguments: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**arguments)


def measure(
    package_path: Path | str,
    device: Device,
    *,
    runs: int = 100,
    warmup: int = 10,
    max_seconds: float = 10.0,
    profile_runs: int = 10,
    tolerance: float | None = None,
) -> LatencyStats:
    """Verify and time a package.

    Args:
        package_path: A ``model.actpkg``.
        device: From ``open_device``.
        runs: Single inferences to time.
        warmup: Inferences before, at least (and at least 0.2 s of them).
        max_seconds: Time for each kind of samples, after which fewer are taken.
        profile_runs: Passes with device timestamps; 0 leaves ``per_kernel_us`` empty.
        tolerance: Largest relative error of the verification; by default that of the package's precision.

    Raises:
        PackageError: If the package is refused.
        CandidateError: If it does not build or run, or its output is wrong; no time is reported then.
        DeviceError: If the device failed.
        ValueError: If an option is out of range.
    """
    path = Path(package_path)
    package = read_package(path)
    if tolerance is None:
        tolerance = TOLERANCES[package.precision]
    options = TimingOptions(
        runs=runs, warmup=warmup, max_seconds=max_seconds, profile_runs=profile_runs, tolerance=tolerance
    )
    _check_backend(package, device)
    before = device.state()
    raw = _timed(path, package, device, options)
    p50, p90 = (float(value) for value in np.percentile(raw.single_ms, (50, 90)))
    return LatencyStats(
        device=device.id,
        device_name=device.info.name,
        fingerprint=device.info.fingerprint,
        batch=package.batch,
        precision=package.precision,
        p50=p50,
        p90=p90,
        mean=float(np.mean(raw.single_ms)),
        samples_ms=raw.single_ms,
        burst_p50=_median(raw.burst_ms),
        burst_ms=raw.burst_ms,
        per_kernel_us=raw.step_us,
        verified_error=raw.verified_error,
        build_ms=raw.build_ms,
        memory_bytes=raw.memory_bytes,
        state={"before": before, "after": device.state()},
    )


def _check_backend(package: Package, device: Device) -> None:
    if package.backend not in device.info.backends:
        raise PackageError(
            f"a package for {package.target} ({package.backend}) cannot run on {device.id}, which takes "
            f"{' and '.join(device.info.backends)}: choose another device, or compile for {device.info.target}"
        )


def _timed(path: Path, package: Package, device: Device, options: TimingOptions) -> RawTiming:
    """Samples; a wrong output is refused with what to do about it."""
    try:
        return device.time(path, options)
    except CandidateError as error:
        if error.reason != "wrong_output":
            raise
        raise CandidateError(f"{error}{precision_advice(package.precision)}", reason=error.reason) from error


def _median(samples: Sequence[float]) -> float | None:
    return float(np.median(samples)) if samples else None


def run_inputs(package_path: Path | str, device: Device, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Run a package with one input and one output on ``inputs``.

    Args:
        package_path: A ``model.actpkg``.
        device: From ``open_device``.
        inputs: Shape ``(N, …)``, the rest as in the package; N need not be a multiple of its batch size.

    Returns:
        The outputs, float32, shape ``(N, …)``.

    Raises:
        ValueError: If the inputs' shape does not fit, or the package has several inputs or outputs.
        PackageError, CandidateError, DeviceError: As for :func:`measure`.
    """
    package = read_package(package_path)
    _check_backend(package, device)
    if len(package.inputs) != 1 or len(package.outputs) != 1:
        raise ValueError(
            f"{package_path} has {len(package.inputs)} inputs and {len(package.outputs)} outputs, not one each"
        )
    batch, *item = package.input_shape
    if inputs.ndim != len(package.input_shape) or list(inputs.shape[1:]) != item:
        raise ValueError(f"inputs have shape {inputs.shape}, the package takes (N, {', '.join(map(str, item))})")
    output_batch, *output_item = package.output_shape
    if output_batch != batch:
        raise ValueError(f"{package_path} gives outputs of shape {package.output_shape} for a batch of {batch}")
    count = len(inputs)
    if count == 0:
        return np.zeros((0, *output_item), np.float32)
    values = np.asarray(inputs, np.float32).reshape(count, -1)
    missing = -count % batch
    if missing:  # fill the last run with copies, and drop their outputs
        values = np.concatenate([values, np.repeat(values[-1:], missing, axis=0)])
    rows = values.reshape(-1, batch * prod(item))
    outputs = device.run(Path(package_path), rows, batch * prod(output_item))
    return outputs.reshape(-1, *output_item)[:count]
