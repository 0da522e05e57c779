"""OpenCL and Vulkan devices of this machine, used through ``act-runner`` in a process of its own.

Their OpenCL comes from ``$ACT_OPENCL_LIBRARY`` where that is set, else from pip (PoCL beside pyopencl, found without
importing it) and from the system; their Vulkan from ``$ACT_VULKAN_LIBRARY``, else from the system. They prove that a
package is correct; their milliseconds say nothing about a phone's.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cache import cache_folder
from .devices import Backend, DeviceInfo, RawTiming, TimingOptions
from .errors import DeviceError, NoDeviceError
from .precision import TOLERANCES
from .runner import call_runner, device_fields, raw_timing, timing_arguments
from .runtime.build import build_runner

_LIST_TIMEOUT_S = 30.0
_BUILD_TIMEOUT_S = 900.0  # a first run compiles every kernel: a minute of one core for a large network on lavapipe


@dataclass(frozen=True, kw_only=True)
class DriverLibrary:
    """One way to the devices of a backend: environment variables for the runner."""

    backend: Backend
    description: str
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LocalDeviceInfo(DeviceInfo):
    """A local device and how the runner reaches it: library and id there."""

    library: DriverLibrary
    runner_id: str


def find_libraries() -> list[DriverLibrary]:
    """The libraries to try, those of OpenCL first, of each backend the best first."""
    opencl, vulkan = (os.environ.get(name) for name in ("ACT_OPENCL_LIBRARY", "ACT_VULKAN_LIBRARY"))
    found = [] if opencl else _pip_libraries()
    return [
        *found,
        DriverLibrary(backend="opencl", description=opencl or "system OpenCL"),
        DriverLibrary(backend="vulkan", description=vulkan or "system Vulkan"),
    ]


def _pip_libraries() -> list[DriverLibrary]:
    spec = importlib.util.find_spec("pyopencl")
    found = []
    for home in (spec.submodule_search_locations or []) if spec is not None else []:
        libraries = Path(home) / ".libs"
        # The loader of the wheel crashes without PYOPENCL_HOME, and finds its drivers through the search path alone.
        search_path = ":".join(filter(None, (str(libraries), os.environ.get("LD_LIBRARY_PATH"))))
        for loader in sorted(libraries.glob("libOpenCL*.so*"))[:1]:
            variables = {"ACT_OPENCL_LIBRARY": str(loader), "PYOPENCL_HOME": home, "LD_LIBRARY_PATH": search_path}
            found.append(DriverLibrary(backend="opencl", description="pip: pyopencl", environment=variables))
    return found


@dataclass(frozen=True, kw_only=True)
class LibraryReport:
    """What one library offers: its devices, or the problem with it."""

    library: DriverLibrary
    devices: tuple[LocalDeviceInfo, ...] = ()
    problem: str | None = None


def probe_libraries(backend: str | None = None) -> list[LibraryReport]:
    """Ask every library for its devices; one that two of them find is kept with the first.

    Args:
        backend: Only its libraries; by default all.

    Raises:
        RunnerBuildError: If the runner cannot be built.
    """
    runner = build_runner()
    reports: list[LibraryReport] = []
    known: set[str] = set()
    for library in find_libraries():
        if backend not in (None, library.backend):
            continue
        environment = _environment(library.environment)
        try:
            command = ["devices", library.backend]
            result = call_runner(runner, command, environment=environment, timeout_s=_LIST_TIMEOUT_S)
        except DeviceError as error:
            reports.append(LibraryReport(library=library, problem=str(error)))
            continue
        count = sum(len(report.devices) for report in reports if report.library.backend == library.backend)
        found = [_describe(values, library) for values in result["devices"]]
        new = [info for info in found if info.fingerprint not in known]
        known |= {info.fingerprint for info in new}
        named = tuple(replace(info, id=f"{library.backend}:{count + index}") for index, info in enumerate(new))
        reports.append(LibraryReport(library=library, devices=named))
    return reports


def list_local_devices(backend: str | None = None) -> list[LocalDeviceInfo]:
    """The devices of this machine, as ``opencl:0``, ``opencl:1``, …, ``vulkan:0``, …; empty where there is none.

    Args:
        backend: Only its devices; by default all.

    Raises:
        RunnerBuildError: If the runner cannot be built.
    """
    return [device for report in probe_libraries(backend) for device in report.devices]


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **changes}


def _describe(values: Mapping[str, Any], library: DriverLibrary) -> LocalDeviceInfo:
    identity = {key: values[key] for key in ("platform", "platform_version", "name", "vendor", "version", "driver")}
    host = (values["compute_units"], platform.machine(), _cpu_model() if values["type"] == "cpu" else "")
    digest = hashlib.sha256(json.dumps([identity, host], sort_keys=True).encode()).hexdigest()
    return LocalDeviceInfo(
        id="",  # given when all are known
        **device_fields(values),
        fingerprint=digest[:16],
        library=library,
        runner_id=values["id"],
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _highest(folder: str, pattern: str) -> float | None:
    """The largest number in some of the kernel's files, which count in thousandths."""
    values = []
    for path in Path(folder).glob(pattern):
        with suppress(OSError, ValueError):
            values.append(int(path.read_text()) / 1000)
    return max(values, default=None)


class LocalDevice:
    """A device of this machine; every call is a process, so that a driver's crash is an error and not the end."""

    def __init__(self, info: LocalDeviceInfo) -> None:
        self._info = info

    @property
    def id(self) -> str:
        """``opencl:N`` or ``vulkan:N``."""
        return self._info.id

    @property
    def info(self) -> LocalDeviceInfo:
        """Name, driver, fingerprint and limits."""
        return self._info

    def verify(self, package: Path, *, tolerance: float = TOLERANCES["fp32"]) -> float:
        """Run the verification input; return the error relative to the largest output."""
        result = self._call("verify", package, "--tolerance", repr(tolerance), timeout_s=_BUILD_TIMEOUT_S)
        return float(result["verified_error"])

    def time(self, package: Path, options: TimingOptions) -> RawTiming:
        """Verify, then measure single inferences, back-to-back ones, and each step's device time."""
        reference = None if options.reference is None else str(options.reference)
        arguments = timing_arguments(options, reference=reference)
        with self._alone():
            before = self.state()
            result = self._call("time", package, *arguments, timeout_s=_BUILD_TIMEOUT_S + options.longest_s)
            return raw_timing(result, before=before, after=self.state())

    def run(self, package: Path, inputs: NDArray[np.float32], output_values: int) -> NDArray[np.float32]:
        """Run each row of ``inputs`` through the package."""
        with tempfile.TemporaryDirectory(prefix="act-run-") as name:
            source, output = Path(name) / "input", Path(name) / "output"
            np.ascontiguousarray(inputs, dtype="<f4").tofile(source)
            # A second a run is far beyond what a network takes; a hang still ends.
            timeout_s = _BUILD_TIMEOUT_S + len(inputs)
            self._call("run", package, "--input", str(source), "--output", str(output), timeout_s=timeout_s)
            values = np.fromfile(output, dtype="<f4").astype(np.float32, copy=False)
        if values.size != len(inputs) * output_values:
            raise DeviceError(f"{self.id} gave {values.size} values, expected were {len(inputs)} × {output_values}")
        return values.reshape(len(inputs), output_values)

    def state(self) -> dict[str, Any]:
        """Load average of the last minute, cores, and the processor's clock and temperature; None where not told."""
        return {
            "load_average": round(os.getloadavg()[0], 2),
            "cores": os.cpu_count() or 1,
            "cpu_mhz": _highest("/sys/devices/system/cpu", "cpu[0-9]*/cpufreq/scaling_cur_freq"),
            "temperature_c": _highest("/sys/class/thermal", "thermal_zone*/temp"),
        }

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other process of ours times on this device: they would slow each other down."""
        with (cache_folder() / f"device-{self._info.fingerprint}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _program_cache(self) -> dict[str, str]:
        """Where built programs are kept; drivers of processors do so themselves, and take longer to give them away."""
        if self._info.type == "cpu":
            return {}
        folder = cache_folder() / "kernels"
        folder.mkdir(exist_ok=True)
        return {"ACT_KERNEL_CACHE": str(folder)}

    def _call(self, command: str, package: Path, *arguments: str, timeout_s: float) -> dict[str, Any]:
        environment = _environment({**self._info.library.environment, **self._program_cache()})
        values = [command, str(package), "--device", self._info.runner_id, *arguments]
        result = call_runner(build_runner(), values, environment=environment, timeout_s=timeout_s)
        found = result["device"]["name"], result["device"]["driver"]
        if found != (self._info.name, self._info.driver):
            raise NoDeviceError(
                f"{self.id} was {self._info.name}, now {found[0]} is in its place: list the devices again"
            )
        return result
