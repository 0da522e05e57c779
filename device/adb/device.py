"""A phone as a device: every call holds the phone's lock, follows the policies, and tidies up behind itself."""

import contextlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..devices import Backend, RawTiming, TimingOptions
from ..errors import CandidateError, DeviceError, NoDeviceError
from ..runner import device_fields, raw_timing, timing_arguments
from .client import AdbClient
from .failures import Patience, PhoneError, UnusablePhoneError, follow_policy
from .lock import lock_phone
from .phone import PhoneInfo, PhoneProperties, PhoneState, check_state, describe_phone, read_state
from .runner import FOLDER, PhoneRunner, runner_for

Result = TypeVar("Result")
RUN_TIMEOUT_S: Final = 300.0  # a first run compiles every kernel
_BACKENDS: Final[tuple[Backend, ...]] = ("opencl", "vulkan")
# Some phones keep what their libOpenCL needs where a plain program does not look.
_ENVIRONMENTS: Final[tuple[dict[str, str], ...]] = ({}, {"LD_LIBRARY_PATH": "/vendor/lib64:/system/vendor/lib64"})


class AdbDevice:
    """One phone.

    Args:
        client: How to reach it.
        device_id: ``adb:SERIAL``, as it was asked for.
        properties: What it is.
        patience: Waits between attempts.
        run_timeout_s: Time for a command on the phone, beyond what it is asked to take.
        sleep: How to wait.
    """

    def __init__(
        self,
        client: AdbClient,
        *,
        device_id: str,
        properties: PhoneProperties,
        patience: Patience | None = None,
        run_timeout_s: float = RUN_TIMEOUT_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client, self._id, self.properties = client, device_id, properties
        self._patience, self._run_timeout_s, self._sleep = patience or Patience(), run_timeout_s, sleep
        self._info: PhoneInfo | None = None
        self._environment: dict[str, str] = {}

    @property
    def id(self) -> str:
        """``adb:SERIAL``."""
        return self._id

    @property
    def client(self) -> AdbClient:
        """How it is reached."""
        return self._client

    @property
    def info(self) -> PhoneInfo:
        """The phone's GPU; the first use runs the runner there.

        Raises:
            NoDeviceError: If it has neither OpenCL nor Vulkan.
            DeviceError: If the phone failed.
        """
        if self._info is None:
            try:
                self._info = self._describe()
            except CandidateError as error:  # there is no candidate yet that could be at fault
                raise UnusablePhoneError(self._client.serial, f"its GPU cannot be looked at: {error}") from error
        return self._info

    def verify(self, package: Path, *, tolerance: float = 1e-3) -> float:
        """Run the verification input; return the error relative to the largest output."""

        def work(runner: PhoneRunner) -> float:
            result = self._check_driver(runner.call("verify", "--tolerance", repr(tolerance)))
            return float(result["verified_error"])

        return self._on_gpu(package, work)

    def time(self, package: Path, options: TimingOptions) -> RawTiming:
        """Verify and measure, between two looks at the phone's state.

        Raises:
            MeasurementError: If the phone is hot, throttled or busy, and stays so.
            UnusablePhoneError: If its settings or its connection forbid timing.
        """

        def work(runner: PhoneRunner) -> RawTiming:
            before = self._ready_state()
            reference = runner.place_of(options.reference) if options.reference is not None else None
            arguments = timing_arguments(options, reference=reference)
            result = self._check_driver(runner.call("time", *arguments, extra_s=options.longest_s))
            after = self._ready_state(after_run=True)
            return raw_timing(result, before=before.to_dict(), after=after.to_dict())

        return self._on_gpu(package, work, extra=() if options.reference is None else (options.reference,))

    def _ready_state(self, *, after_run: bool = False) -> PhoneState:
        """Its state, if it may be timed in it; after a run of ours, the GPU's load says nothing."""
        state = read_state(self._client)
        check_state(self._client.serial, replace(state, gpu_busy_percent=None) if after_run else state)
        return state

    def run(self, package: Path, inputs: NDArray[np.float32], output_values: int) -> NDArray[np.float32]:
        """Run each row of ``inputs`` through the package."""
        size = 4 * len(inputs) * output_values

        def work(runner: PhoneRunner) -> NDArray[np.float32]:
            with tempfile.TemporaryDirectory(prefix="act-run-") as name:
                source, output = Path(name) / "input", Path(name) / "output"
                np.ascontiguousarray(inputs, dtype="<f4").tofile(source)
                runner.run(source, output, output_bytes=size, extra_s=float(len(inputs)))
                values = np.fromfile(output, dtype="<f4").astype(np.float32, copy=False)
            return values.reshape(len(inputs), output_values)

        return self._on_gpu(package, work)

    def state(self) -> dict[str, Any]:
        """Temperatures, clocks, battery, screen, and what of it forbids timing (``problems``)."""
        state = follow_policy(
            self._client.serial, lambda: read_state(self._client), patience=self._patience, sleep=self._sleep
        )
        return {**state.to_dict(), "problems": [problem.text for problem in state.problems()]}

    def _check_driver(self, result: dict[str, Any]) -> dict[str, Any]:
        """A driver that was replaced is another device."""
        known, found = self.info, result["device"]["driver"]
        if result["backend"] == known.backend and found != known.driver:
            raise DeviceError(f"{self.id} had driver {known.driver}, now {found}: list the devices again")
        return result

    def _on_gpu(self, package: Path, work: Callable[[PhoneRunner], Result], *, extra: tuple[Path, ...] = ()) -> Result:
        """Do something with a package (and more) when it is known how the runner finds the phone's GPU."""
        cache = {"ACT_KERNEL_CACHE": FOLDER} if self.info.type != "cpu" else {}
        return self._guarded(self._runner({**self._environment, **cache}, package, *extra), work)

    def _guarded(self, runner: PhoneRunner, work: Callable[[PhoneRunner], Result]) -> Result:
        """Do something with the phone for ourselves, as often as the policies say."""
        serial, boots = self._client.serial, set[str]()

        def attempt() -> Result:
            boots.add(runner.prepare())
            if len(boots - {""}) > 1:  # where it cannot be read, it is empty
                raise CandidateError(f"phone {serial}: it restarted while it ran this package", reason="crash")
            try:
                runner.install()
                return work(runner)
            finally:
                with contextlib.suppress(PhoneError):  # what is left now goes at the next contact
                    runner.tidy()

        with lock_phone(self.id):
            return follow_policy(serial, attempt, patience=self._patience, sleep=self._sleep)

    def describe_backend(self, backend: Backend) -> dict[str, Any]:
        """What the runner says of the GPU as one backend shows it.

        Raises:
            NoDeviceError: If the phone has no library for it; the message names each attempt.
            DeviceError: If the phone failed.
        """
        problem: NoDeviceError | None = None
        for environment in _ENVIRONMENTS:
            try:
                devices = self._guarded(self._runner(environment), lambda runner: runner.devices(backend))
                return devices[0]
            except NoDeviceError as error:
                problem = problem or error
        assert problem is not None
        raise problem

    def _describe(self) -> PhoneInfo:
        """Ask the runner for the phone's GPU, with the first variables that let it find one."""
        problems: list[str] = []
        for environment in _ENVIRONMENTS:
            found = self._guarded(self._runner(environment), lambda runner: _find_gpus(runner, problems))
            if found:
                self._environment = environment
                first = next(iter(found.values()))
                return describe_phone(self.id, self.properties, tuple(found), device_fields(first))
        raise NoDeviceError(
            f"phone {self._client.serial} offers programs neither OpenCL nor Vulkan: use another phone\n"
            + "\n".join(dict.fromkeys(problems))
        )

    def _runner(self, environment: dict[str, str], *packages: Path) -> PhoneRunner:
        program = runner_for(self.properties)
        return PhoneRunner(
            self._client, program, packages=packages, environment=environment, timeout_s=self._run_timeout_s
        )


def _find_gpus(runner: PhoneRunner, problems: list[str]) -> dict[Backend, dict[str, Any]]:
    """The first device of each backend; where there is no library, the reason is added to ``problems``."""
    found: dict[Backend, dict[str, Any]] = {}
    for backend in _BACKENDS:
        try:
            devices = runner.devices(backend)
        except NoDeviceError as error:
            problems.append(str(error))
            continue
        if devices:
            found[backend] = devices[0]
    return found
