"""Whether the sum of kernels says what a whole network takes: compiled, run end to end, and compared.

    relative error = (predicted - measured) / measured

The prediction is the sum of the kernels of each layer, measured on its own. What it leaves out (enqueueing, waiting,
kernels that the compiler adds between layers) shows here; `kernels_ms`, the sum of the kernels measured within the
whole network, tells the two parts of the error apart. Checked are the dense network, what every search chooses (before
it is trained), and what every attempt at a round ends with.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ..compiler.errors import CompileError
from ..compiler.kernel_choice import UNTUNED, TunedKernels
from ..compiler.targets import Target
from ..device.devices import CandidateError
from ..device.harness import LatencyStats, measure
from ..device.package_format import PackageError
from ..device.pool import DevicePool
from .capture import CapturedNetwork
from .export import export_onnx
from .progress import Progress
from .run_folder import Journal

CHECK_RUNS: Final = 50
NOTEWORTHY_ERROR: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class PredictionCheck:
    """A prediction beside what was measured.

    Attributes:
        name: Which network: `dense network`, `round 1 search`, `round 1`.
        predicted_ms: Sum of its layers' kernels.
        measured_ms: Median of single inferences, end to end; None where it could not be run.
        kernels_ms: Sum of the kernels within the whole network.
        device: Which one measured.
        problem: Why it could not be compiled or run; then nothing was measured.
    """

    name: str
    predicted_ms: float
    measured_ms: float | None = None
    kernels_ms: float | None = None
    device: str = ""
    problem: str | None = None

    @property
    def relative_error(self) -> float | None:
        """Of the prediction; negative where the network takes longer than predicted."""
        return None if not self.measured_ms else (self.predicted_ms - self.measured_ms) / self.measured_ms

    def to_dict(self) -> dict[str, Any]:
        """JSON values, for the journal and the report."""
        names = ("name", "predicted_ms", "measured_ms", "kernels_ms", "device", "problem")
        return {**{name: getattr(self, name) for name in names}, "relative_error": self.relative_error}


class PredictionChecks:
    """Compares predictions with whole networks on the devices of a pool, and journals.

    Args:
        target: What networks are compiled for.
        pool: Where they run.
        events: The run's journal; what it holds is not measured again.
        progress: Told of large errors.
        tuned: Kernels that were tuned for the target.
    """

    def __init__(
        self,
        target: Target,
        pool: DevicePool,
        events: Journal,
        progress: Progress,
        *,
        tuned: TunedKernels = UNTUNED,
    ) -> None:
        self._target, self._pool, self._events, self._progress = target, pool, events, progress
        self._tuned = tuned
        self._rows = {event["name"]: _without_event(event) for event in events if event.get("event") == "prediction"}

    def check(self, name: str, predicted_ms: float, network: Callable[[], CapturedNetwork]) -> None:
        """Compile a network, measure it end to end, and compare, once under each name.

        Args:
            name: Of the network, in this run.
            predicted_ms: Its price, all of its layers measured.
            network: Makes it; any captured network.

        Raises:
            NoDeviceLeftError: If the devices are gone.
        """
        if name in self._rows:
            return
        found = self._compared(PredictionCheck(name=name, predicted_ms=predicted_ms), network())
        row = found.to_dict()
        self._events.append({"event": "prediction", **row})
        self._rows[name] = row
        self._tell(found)

    def rows(self) -> list[dict[str, Any]]:
        """All comparisons so far, in order."""
        return list(self._rows.values())

    def _compared(self, check: PredictionCheck, network: CapturedNetwork) -> PredictionCheck:
        from ..compiler.compile import compile_onnx

        with tempfile.TemporaryDirectory(prefix="act-check-") as folder:
            package = Path(folder) / "model.actpkg"
            try:
                export_onnx(network, package.with_suffix(".onnx"), preprocessing=None)
                compile_onnx(package.with_suffix(".onnx"), self._target, output=package, tuned=self._tuned)
                stats: LatencyStats = self._pool.run(lambda device: measure(package, device, runs=CHECK_RUNS))
            except (CompileError, CandidateError, PackageError) as error:
                return replace(check, problem=str(error))
        kernels_ms = sum(stats.per_kernel_us) / 1000
        return replace(check, measured_ms=stats.p50, kernels_ms=kernels_ms, device=stats.device)

    def _tell(self, check: PredictionCheck) -> None:
        error = check.relative_error
        if error is None:
            self._progress.warn(f"{check.name}: the whole network was not measured: {check.problem}")
            return
        text = (
            f"{check.name}: predicted {check.predicted_ms:.3f} ms, measured {check.measured_ms:.3f} ms ({error:+.0%})"
        )
        if abs(error) > NOTEWORTHY_ERROR:
            text += ": sums of kernels rank candidates, but do not say what a network takes here"
        self._progress.note(text)


def _without_event(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "event"}
