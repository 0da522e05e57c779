"""Measures a package on a device and runs inputs through it.

One measurement is: the device's state, refused or waited for where it forbids timing; the output, verified; the
reference package; the warm-up until two windows of it agree; single inferences, back-to-back ones, and a pass of its
own with device timestamps, which slow the device down (their sum is no latency); the reference and the state again.
A measurement that ``quality.py`` flags is repeated after a pause, and the best one is kept with its flags.

A latency is the wall-clock time of one inference, from first enqueue to the end of its last kernel; input and output
stay on the device.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from math import prod
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from .devices import CandidateError, Device, RawTiming, TimingOptions
from .package_format import Package, PackageError, read_package
from .precision import TOLERANCES, Precision, precision_advice
from .quality import Circumstances, drift_of, judge, spread_of
from .reference import reference_package

Headline = Literal["p50", "p90"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How thorough a measurement is; the fields are arguments of :func:`measure`."""

    runs: int = 100
    warmup: int = 10
    min_seconds: float = 0.0
    max_seconds: float = 10.0
    headline: Headline = "p50"
    attempts: int = 2


PRESETS: Final = {
    "quick": Preset(runs=30, warmup=5, max_seconds=2.0, attempts=1),
    # Two seconds, since what disturbs a processor or a phone lasts for tenths of one: a median has to span several.
    "standard": Preset(min_seconds=2.0),
    # MLPerf Mobile's rule for one stream; ten minutes are a limit for networks that take most of a second.
    "mlperf": Preset(runs=1024, min_seconds=60.0, max_seconds=600.0, headline="p90"),
}
"""By name, as ``act bench --preset`` takes them."""
COOL_DOWN_S: Final = (2.0, 10.0)
"""Pauses before a measurement that was flagged is repeated; the last one counts for all further ones."""
_SLACK: Final = 0.05  # of the time asked for may pass between samples


@dataclass(frozen=True, kw_only=True)
class LatencyStats:
    """One measurement; compares with others of the same ``fingerprint``, ``backend``, ``batch`` and ``precision`` only.

    Attributes:
        kind: Always ``measured``.
        device: Id of the device.
        device_name: What the device calls itself.
        fingerprint: Hardware with driver.
        backend: How the device was reached.
        batch: Images of one inference.
        precision: ``fp32`` or ``fp16``.
        headline: Which of ``p50`` and ``p90`` is the figure to report.
        p50: Median of ``samples_ms``.
        p90: 90th percentile of ``samples_ms``.
        mean: Mean of ``samples_ms``.
        minimum: The smallest of ``samples_ms``.
        mad: Median distance of ``samples_ms`` to their median.
        outliers: How many of ``samples_ms`` lie far off.
        samples_ms: Single inferences, in the order taken; all are kept, outliers too.
        burst_p50: Median milliseconds of one inference when many are enqueued back to back; None if not measured.
        burst_ms: Its samples.
        per_kernel_us: Median device time of each step of the package; empty if not profiled.
        verified_error: Largest difference to the expected output, relative to its largest value.
        build_ms: Time the device's compiler took (a driver may have had the kernels in its cache).
        memory_bytes: Arena and weights.
        flags: What speaks against the measurement, by kind (see ``quality.py``), with the reason; empty for a good one.
        warmup_runs: Inferences before the first sample.
        warmup_ms: Their time.
        timed_s: Time of warm-up, samples and profile together.
        reference: Name of the reference package; empty where none was timed.
        reference_ms: Its median before and after; empty where it was not timed.
        drift: Its second median by its first; None where it was not timed.
        other_cores: Processors that others kept busy meanwhile; None where that cannot be read.
        attempts: Measurements that were made, of which this is the best.
        state: State of the device ``before`` and ``after``.
    """

    kind: Literal["measured"] = "measured"
    device: str
    device_name: str
    fingerprint: str
    backend: str
    batch: int
    precision: Precision
    headline: Headline
    p50: float
    p90: float
    mean: float
    minimum: float
    mad: float
    outliers: int
    samples_ms: tuple[float, ...]
    burst_p50: float | None
    burst_ms: tuple[float, ...]
    per_kernel_us: tuple[float, ...]
    verified_error: float
    build_ms: float
    memory_bytes: int
    flags: dict[str, str]
    warmup_runs: int
    warmup_ms: float
    timed_s: float
    reference: str
    reference_ms: tuple[float, ...]
    drift: float | None
    other_cores: float | None
    attempts: int = 1
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def headline_ms(self) -> float:
        """The figure to report."""
        return self.p50 if self.headline == "p50" else self.p90

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
    min_seconds: float = 0.0,
    max_seconds: float = 10.0,
    profile_runs: int = 10,
    tolerance: float | None = None,
    headline: Headline = "p50",
    attempts: int = 1,
    usual_reference_ms: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> LatencyStats:
    """Verify and time a package.

    Args:
        package_path: A ``model.actpkg``.
        device: From ``open_device``.
        runs: Single inferences to time.
        warmup: Inferences before, at least (and at least 0.2 s of them).
        min_seconds: Go on with single inferences for so long.
        max_seconds: Time for each kind of samples, after which fewer are taken.
        profile_runs: Passes with device timestamps; 0 leaves ``per_kernel_us`` empty.
        tolerance: Largest relative error of the verification; by default that of the package's precision.
        headline: Which figure is the one to report.
        attempts: Measure so often, with a pause between, until nothing is flagged; the best is returned.
        usual_reference_ms: What the reference takes on this device (``LatencyDatabase.usual_reference_ms``); a device
            that takes longer is flagged as throttled.
        sleep: How to wait.

    Raises:
        PackageError: If the package is refused.
        CandidateError: If it does not build or run, or its output is wrong; no time is reported then.
        DeviceError: If the device failed.
        ValueError: If an option is out of range.
    """
    path = Path(package_path)
    package = read_package(path)
    _check_backend(package, device)
    if attempts < 1:
        raise ValueError(f"attempts must be at least 1, got {attempts}")
    options = TimingOptions(
        runs=runs,
        warmup=warmup,
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        profile_runs=profile_runs,
        tolerance=TOLERANCES[package.precision] if tolerance is None else tolerance,
        reference=reference_package(package.backend),
    )
    found: list[LatencyStats] = []
    while len(found) < attempts and not (found and not found[-1].flags):
        if found:
            sleep(COOL_DOWN_S[min(len(found), len(COOL_DOWN_S)) - 1])
        raw = _timed(path, package, device, options)
        found.append(_stats(package, device, options, raw, headline, usual_reference_ms))
    return replace(min(found, key=_badness), attempts=len(found))


def _badness(stats: LatencyStats) -> tuple[int, float]:
    """Fewer flags first, then less scatter."""
    return len(stats.flags), stats.mad / stats.p50 if stats.p50 > 0 else 0.0


def _stats(
    package: Package,
    device: Device,
    options: TimingOptions,
    raw: RawTiming,
    headline: Headline,
    usual_reference_ms: float | None,
) -> LatencyStats:
    p50, p90 = (float(value) for value in np.percentile(raw.single_ms, (50, 90)))
    spread, seen = spread_of(raw.single_ms), _circumstances(raw, options, usual_reference_ms)
    reference = (_median(raw.reference_before_ms), _median(raw.reference_after_ms))
    known = tuple(value for value in reference if value is not None)
    has_reference = len(known) == 2
    return LatencyStats(
        device=device.id,
        device_name=device.info.name,
        fingerprint=device.info.fingerprint,
        backend=package.backend,
        batch=package.batch,
        precision=package.precision,
        headline=headline,
        p50=p50,
        p90=p90,
        mean=float(np.mean(raw.single_ms)),
        minimum=spread.minimum,
        mad=spread.mad,
        outliers=spread.outliers,
        samples_ms=raw.single_ms,
        burst_p50=_median(raw.burst_ms),
        burst_ms=raw.burst_ms,
        per_kernel_us=raw.step_us,
        verified_error=raw.verified_error,
        build_ms=raw.build_ms,
        memory_bytes=raw.memory_bytes,
        flags=judge(raw.single_ms, seen),
        warmup_runs=raw.warmup_runs,
        warmup_ms=raw.warmup_ms,
        timed_s=raw.timed_s,
        reference=options.reference.stem if has_reference and options.reference is not None else "",
        reference_ms=known if has_reference else (),
        drift=drift_of(seen),
        other_cores=seen.other_cores,
        state=raw.state,
    )


def _circumstances(raw: RawTiming, options: TimingOptions, usual_reference_ms: float | None) -> Circumstances:
    watched = raw.other_cpu_s is not None and raw.timed_s > 0
    return Circumstances(
        other_cores=raw.other_cpu_s / raw.timed_s if watched and raw.other_cpu_s is not None else None,
        cores=raw.cores,
        window_s=raw.timed_s,
        reference_before_ms=_median(raw.reference_before_ms),
        reference_after_ms=_median(raw.reference_after_ms),
        usual_reference_ms=usual_reference_ms,
        is_stable=raw.is_stable,
        missing_samples=options.runs - len(raw.single_ms),
        missing_s=(1 - _SLACK) * options.min_seconds - sum(raw.single_ms) / 1000,
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
