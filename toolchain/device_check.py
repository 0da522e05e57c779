"""The checklist of a device, local or a phone: everything that only the device itself can show.

The device's own part comes first (`act.device.adb.checkup` for a phone); then small packages, in every way that the
device takes them: the output, the timers, inputs and outputs of our own.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..compiler.compile import compile_onnx
from ..compiler.errors import CompileError
from ..compiler.targets import Target, get_target, list_targets
from ..device.adb.checkup import check_phone
from ..device.adb.device import AdbDevice
from ..device.checkup import CheckedItem
from ..device.devices import Backend, Device
from ..device.errors import DeviceError
from ..device.harness import PRESETS, LatencyStats, measure, run_inputs
from ..device.package_format import read_package
from ..device.precision import PRECISIONS, TOLERANCES, Precision

_RUNS = 20
_TIMERS_MOST = 1.2  # of the wall-clock time: clocks of host and device differ a little
_TIMERS_LEAST = 0.01
_WORTH_COMPARING_MS = 0.05  # below it, starting kernels is all there is
_REPORT = "report it as an issue, with this list and the output of 'act doctor'"
WriteOnnx = Callable[[Path], None]


@dataclass(frozen=True, kw_only=True)
class DeviceReport:
    """All items of one device, and the measurements that were made on the way."""

    device: str
    name: str
    items: tuple[CheckedItem, ...]
    measurements: tuple[LatencyStats, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(item.outcome != "fail" for item in self.items)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {
            "device": self.device,
            "name": self.name,
            "passed": self.passed,
            "checks": [item.to_dict() for item in self.items],
            "measurements": [stats.to_dict() for stats in self.measurements],
        }


def check_device(device: Device, write_onnx: WriteOnnx, *, target: str | None = None) -> DeviceReport:
    """Go through the list; what fails is an item of it, no exception.

    Args:
        device: Any.
        write_onnx: Writes a small network with one input and one output.
        target: What to compile for; by default what the device is.
    """
    items: list[CheckedItem] = []
    measured: list[LatencyStats] = []
    name = device.id
    try:
        if isinstance(device, AdbDevice):
            items.extend(check_phone(device))
        if any(item.outcome == "fail" for item in items):
            found = "nothing is run before that is right"
            items.append(CheckedItem(name="packages", outcome="skip", found=found, next_step="see above"))
        else:
            name = device.info.name
            if not isinstance(device, AdbDevice):
                items.append(_local(device))
            items.extend(_packages(device, write_onnx, target, measured))
    except DeviceError as error:
        step = "see to it, and check again"
        items.append(CheckedItem(name="device", outcome="fail", found=str(error), next_step=step))
    return DeviceReport(device=device.id, name=name, items=tuple(items), measurements=tuple(measured))


def _local(device: Device) -> CheckedItem:
    info = device.info
    state = ", ".join(f"{key} {value}" for key, value in device.state().items() if value is not None)
    return CheckedItem(name=info.backend, outcome="pass", found=f"{info.name}, driver {info.driver}; {state}")


def _packages(
    device: Device, write_onnx: WriteOnnx, target: str | None, measured: list[LatencyStats]
) -> Iterator[CheckedItem]:
    with tempfile.TemporaryDirectory(prefix="act-check-") as name:
        folder = Path(name)
        write_onnx(folder / "model.onnx")
        for backend in device.info.backends:
            chosen = _target(device, backend, target)
            if isinstance(chosen, CheckedItem):
                yield chosen
                continue
            for precision in PRECISIONS:
                yield from _package(device, folder, get_target(chosen, precision=precision), measured)


def _target(device: Device, backend: Backend, asked: str | None) -> str | CheckedItem:
    """The target of a backend: what was asked for where it fits, else what the device is."""
    try:
        name = asked or _beside(device.info.target, backend)
    except DeviceError as error:
        step = "name the nearest one with --target (see 'act targets')"
        return CheckedItem(name=f"{backend} target", outcome="fail", found=str(error), next_step=step)
    if get_target(name).backend != backend:
        found = f"--target {name} is for {get_target(name).backend}"
        return CheckedItem(name=f"{backend} target", outcome="skip", found=found)
    return name


def _beside(target: str, backend: Backend) -> str:
    """The target of the same device for a backend: `adreno640` and `adreno640-vulkan` are beside each other."""
    stem = target.removesuffix("-opencl").removesuffix("-vulkan")
    names = [name for name in (stem, f"{stem}-{backend}") if name in list_targets()]
    return next(name for name in names if get_target(name).backend == backend)


def _package(device: Device, folder: Path, target: Target, measured: list[LatencyStats]) -> Iterator[CheckedItem]:
    """One package: compiled, verified, timed, and run on an input of our own."""
    name = f"{target.backend} {target.precision}"
    try:
        output = folder / f"{target.name}-{target.precision}.actpkg"
        package = compile_onnx(folder / "model.onnx", target, output=output)
    except CompileError as error:
        yield CheckedItem(name=name, outcome="fail", found=str(error), next_step="see 'act doctor'")
        return
    try:
        stats = measure(package.path, device, runs=_RUNS, warmup=5, max_seconds=PRESETS["quick"].max_seconds)
        measured.append(stats)
        yield CheckedItem(
            name=name,
            outcome="pass",
            found=f"output correct (error {stats.verified_error:.1e}), LeNet-5 {stats.p50:.3g} ms, "
            f"kernels built in {stats.build_ms / 1000:.1f} s",
        )
        yield timers(name, stats)
        yield steadiness(name, stats)
        yield _round_trip(name, device, package.path, target.precision)
    except DeviceError as error:
        yield CheckedItem(name=name, outcome="fail", found=str(error), next_step=_REPORT)


def timers(name: str, stats: LatencyStats) -> CheckedItem:
    """Whether the device's clock and the wall clock tell of the same time."""
    item = f"{name} timers"
    total = sum(stats.per_kernel_us) / 1000
    if not stats.per_kernel_us:
        step = "latencies are right; only shares of kernels are missing"
        return CheckedItem(name=item, outcome="skip", found="the device has no clock for kernels", next_step=step)
    found = f"kernels {total:.3g} ms, wall clock {stats.p50:.3g} ms"
    most = _TIMERS_MOST * stats.p50 + _WORTH_COMPARING_MS
    if min(stats.per_kernel_us) < 0 or not _TIMERS_LEAST * stats.p50 <= total <= most:
        if stats.flags:  # kernels and wall clock are of two passes, which were disturbed differently
            step = "not judged; leave the device alone, and check again"
            return CheckedItem(name=item, outcome="skip", found=f"{found}, disturbed", next_step=step)
        step = f"do not use the times of kernels on this device; {_REPORT}"
        return CheckedItem(name=item, outcome="fail", found=found, next_step=step)
    return CheckedItem(name=item, outcome="pass", found=found)


def steadiness(name: str, stats: LatencyStats) -> CheckedItem:
    """Whether anything speaks against the measurement."""
    item = f"{name} steadiness"
    if stats.flags:
        found = "; ".join(f"{kind}: {reason}" for kind, reason in stats.flags.items())
        step = "not judged; leave the device alone, and check again"
        return CheckedItem(name=item, outcome="skip", found=found, next_step=step)
    drift = "no reference was timed" if stats.drift is None else f"reference {100 * (stats.drift - 1):+.1f} %"
    return CheckedItem(
        name=item, outcome="pass", found=f"{drift}, {stats.outliers} outliers of {len(stats.samples_ms)}"
    )


def _round_trip(name: str, device: Device, path: Path, precision: Precision) -> CheckedItem:
    """An input from here and its output back again, which timing does not need."""
    package = read_package(path)
    expected = package.verification_output.reshape(package.output_shape)
    found = run_inputs(path, device, package.verification_input.reshape(package.input_shape))
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    outcome: Literal["pass", "fail"] = "pass" if error <= TOLERANCES[precision] else "fail"
    return CheckedItem(
        name=f"{name} inputs",
        outcome=outcome,
        found=f"an input was sent and its output came back (error {error:.1e})",
        next_step="" if outcome == "pass" else _REPORT,
    )
