"""Devices by their id: what a device can do, and ``open_device``, which finds one."""

import difflib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

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
    """How often to measure; each kind of sample stops early after ``max_seconds``, but not before three samples."""

    runs: int = 100
    warmup: int = 10
    warmup_ms: float = 200.0
    bursts: int = 10
    burst_runs: int = 10
    profile_runs: int = 10
    max_seconds: float = 10.0
    tolerance: float = TOLERANCES["fp32"]

    def __post_init__(self) -> None:
        if self.runs < 1 or min(self.warmup, self.bursts, self.profile_runs) < 0 or self.burst_runs < 1:
            raise ValueError(f"runs and burst_runs must be at least 1, the other counts not negative, got {self}")
        if not (self.warmup_ms >= 0 and self.max_seconds > 0 and self.tolerance > 0):
            raise ValueError(f"times and tolerance must be positive, got {self}")


@dataclass(frozen=True, kw_only=True)
class RawTiming:
    """Samples of one package, verified before: wall-clock milliseconds, and median device microseconds of each step."""

    single_ms: tuple[float, ...]
    burst_ms: tuple[float, ...]
    step_us: tuple[float, ...]
    verified_error: float
    build_ms: float
    memory_bytes: int


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
        """Verify, then measure."""

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
    reports = probe_libraries()
    known = {info.id: info for report in reports for info in report.devices}
    if device_id in known:
        return LocalDevice(known[device_id])
    if not known:
        tried = "".join(f"\n{report.library.description}: {report.problem}" for report in reports)
        raise NoDeviceError(
            f"unknown device {device_id!r}: there is no OpenCL and no Vulkan device on this machine; "
            f"{HOW_TO_GET_A_DEVICE} (see 'act doctor'){tried}"
        )
    near = difflib.get_close_matches(device_id, known, n=1)
    hint = f": did you mean {near[0]!r}?" if near else ":"
    raise DeviceError(f"unknown device {device_id!r}{hint} known devices: {', '.join(known)} (see 'act devices list')")
