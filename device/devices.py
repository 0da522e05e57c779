"""Devices by their id: what a device can do, and ``open_device``, which finds one."""

import difflib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import CandidateError, DeviceError, NoDeviceError, RunnerBuildError
from .precision import TOLERANCES

__all__ = [
    "HOW_TO_GET_A_DEVICE",
    "Backend",
    "CandidateError",
    "Device",
    "DeviceError",
    "DeviceInfo",
    "NoDeviceError",
    "RawTiming",
    "RunnerBuildError",
    "TimingOptions",
    "open_device",
]

HOW_TO_GET_A_DEVICE = (
    "'pip install pyopencl pocl-binary-distribution' gives an OpenCL device on Linux x86-64, "
    "'apt-get install mesa-vulkan-drivers libvulkan1' a Vulkan device on Debian and Ubuntu"
)


Backend = Literal["opencl", "vulkan"]


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """What a device says of itself.

    ``fingerprint`` names the hardware with its driver: latencies are compared within one fingerprint only.
    """

    id: str
    name: str
    vendor: str
    platform: str
    driver: str
    version: str
    type: str
    compute_units: int
    global_memory_bytes: int
    max_work_group_size: int
    local_memory_bytes: int
    has_fp16: bool
    fingerprint: str

    @property
    def backend(self) -> Backend:
        """What packages must be compiled for to run here: the kind in its id."""
        return cast(Backend, self.id.partition(":")[0])

    @property
    def backends(self) -> tuple[Backend, ...]:
        """All that runs here; a phone's GPU may be reached in two ways."""
        return (self.backend,)

    @property
    def target(self) -> str:
        """Name of the target to compile for where none is given."""
        return f"host-{self.backend}"

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class TimingOptions:
    """How often to measure; each kind of sample stops early after ``max_seconds``, but not before three samples.

    The warm-up takes at least ``warmup`` runs and ``warmup_ms``, and then goes on until the medians of two windows of
    50 ms agree within 3 %, or ``max_warmup_ms`` are over. Single inferences go on beyond ``runs`` for ``min_seconds``.
    ``reference`` is a package that is timed before and after, if any.
    """

    runs: int = 100
    warmup: int = 10
    warmup_ms: float = 200.0
    max_warmup_ms: float = 2000.0
    min_seconds: float = 0.0
    bursts: int = 10
    burst_runs: int = 10
    profile_runs: int = 10
    max_seconds: float = 10.0
    tolerance: float = TOLERANCES["fp32"]
    reference: Path | None = None

    def __post_init__(self) -> None:
        if self.runs < 1 or min(self.warmup, self.bursts, self.profile_runs) < 0 or self.burst_runs < 1:
            raise ValueError(f"runs and burst_runs must be at least 1, the other counts not negative, got {self}")
        if not (min(self.warmup_ms, self.max_warmup_ms, self.min_seconds) >= 0 < min(self.max_seconds, self.tolerance)):
            raise ValueError(f"max_seconds and tolerance must be positive, other times not negative, got {self}")

    @property
    def longest_s(self) -> float:
        """Seconds that a run may take by these options, with some reserve; building the kernels comes on top."""
        return 10.0 + 2 * (self.warmup_ms + self.max_warmup_ms) / 1000 + 4 * self.max_seconds


@dataclass(frozen=True, kw_only=True)
class RawTiming:
    """Samples of one package, verified before, and what was seen beside them.

    Attributes:
        single_ms: Wall-clock milliseconds of single inferences, in the order taken.
        burst_ms: Of one inference when many are started back to back.
        step_us: Median device microseconds of each step.
        verified_error: Difference to the expected output, relative to its largest value.
        build_ms: Time of the device's compiler.
        memory_bytes: Arena and weights.
        warmup_runs: Inferences before the first sample.
        warmup_ms: Their time.
        is_stable: Whether two windows of the warm-up agreed at its end; None where it is not known.
        timed_s: Time of warm-up, samples and profile together.
        other_cpu_s: Processor time that others used in it; None where it cannot be read.
        cores: Processors of the machine, as its system counts them.
        reference_before_ms: Samples of the reference before; empty where there is none.
        reference_after_ms: And after.
        reference_problem: Why the reference could not be timed; empty where it could, or none was given.
        reference_s: Time that the reference's samples took.
        state: State of the device ``before`` and ``after``.
    """

    single_ms: tuple[float, ...]
    burst_ms: tuple[float, ...]
    step_us: tuple[float, ...]
    verified_error: float
    build_ms: float
    memory_bytes: int
    warmup_runs: int = 0
    warmup_ms: float = 0.0
    is_stable: bool | None = None
    timed_s: float = 0.0
    other_cpu_s: float | None = None
    cores: int | None = None
    reference_before_ms: tuple[float, ...] = ()
    reference_after_ms: tuple[float, ...] = ()
    reference_problem: str = ""
    reference_s: float = 0.0
    state: dict[str, dict[str, Any]] = field(default_factory=dict)


class Device(Protocol):
    """Something that runs packages. Its methods raise ``PackageError``, ``CandidateError`` or ``DeviceError``."""

    @property
    def id(self) -> str:
        """The name by which ``open_device`` finds it."""

    @property
    def info(self) -> DeviceInfo:
        """What it is."""

    def verify(self, package: Path, *, tolerance: float = TOLERANCES["fp32"]) -> float:
        """Run the package's verification input; return the error relative to the largest output."""

    def time(self, package: Path, options: TimingOptions) -> RawTiming:
        """Verify, then measure, between two looks at the device's state."""

    def run(self, package: Path, inputs: NDArray[np.float32], output_values: int) -> NDArray[np.float32]:
        """Run each row of ``inputs`` (all inputs of one run, flat) and return rows of ``output_values`` values."""

    def state(self) -> dict[str, Any]:
        """What disturbs a measurement now: load, temperature, clocks; by name, as JSON values."""


def open_device(device_id: str) -> Device:
    """Find a device.

    Raises:
        DeviceError: If the id is unknown, with the known ones, or of a kind that this version cannot reach.
    """
    from .local import LocalDevice, probe_libraries

    kind = device_id.partition(":")[0]
    if kind == "adb":
        from .adb.phones import open_phone

        return open_phone(device_id)
    reports = probe_libraries(kind) if kind in get_args(Backend) else []
    known = {info.id: info for report in reports for info in report.devices}
    if device_id in known:
        return LocalDevice(known[device_id])
    reports = probe_libraries()
    known = {info.id: info for report in reports for info in report.devices}
    if not known:
        tried = "".join(f"\n{report.library.description}: {report.problem}" for report in reports)
        raise NoDeviceError(
            f"unknown device {device_id!r}: there is no OpenCL and no Vulkan device on this machine; "
            f"{HOW_TO_GET_A_DEVICE} (see 'act doctor'){tried}"
        )
    near = difflib.get_close_matches(device_id, known, n=1)
    hint = f": did you mean {near[0]!r}?" if near else ":"
    raise DeviceError(f"unknown device {device_id!r}{hint} known devices: {', '.join(known)} (see 'act devices list')")
