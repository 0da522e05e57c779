"""Latency measured on devices: the sum of a candidate's kernels, each layer compiled and run on its own.

Layers that were not measured yet are estimated from the nearest measured one, scaled by the model's ratio; what a
search settles on is measured before it counts. Compiling stays in the caller's thread, the pool's devices measure
meanwhile. A layer that cannot be built or run is remembered as such: it has no time, and every candidate with it costs
infinitely much, so that a search goes around it.
"""

import math
import tempfile
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Final

from ..compiler.errors import CompileError
from ..compiler.kernel_choice import UNTUNED, TunedKernels
from ..compiler.latency_model import modelled_latency_ms
from ..compiler.layer_shape import LayerShape
from ..compiler.targets import Target
from ..device.database import LatencyDatabase, kernel_key
from ..device.devices import CandidateError, Device, DeviceError
from ..device.harness import LatencyStats, measure
from ..device.package_format import PackageError, read_package
from ..device.pool import DevicePool
from .measurement_journal import LayerResult, MeasurementJournal

TIMED_RUNS: Final = 30
_AROUND_A_LAYER: Final = frozenset({"clear_halos", "copy"})
"""Kernels that a layer on its own needs, and a network once: its input brought into the layout of its kernel."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A compiled layer: the keys of its own kernels by step, and its measurement where the database lacks one."""

    layer: LayerShape
    keys: dict[int, str] = field(default_factory=dict)
    future: "Future[LatencyStats] | None" = None
    result: LayerResult | None = None

    @property
    def is_done(self) -> bool:
        return self.future is None or self.future.done()


class MeasuredLatency:
    """Milliseconds by the sum of kernels measured on the devices of a pool.

    Args:
        target: What kernels are compiled for.
        pool: Where they run; the kernels of all candidates that are confirmed together are spread over its devices.
        journal: Of the run; what it holds is not measured again.
        database: The latency database; by default the user's.
        tuned: Kernels that were tuned for the target.
    """

    def __init__(
        self,
        target: Target,
        pool: DevicePool,
        journal: MeasurementJournal,
        *,
        database: Path | None = None,
        tuned: TunedKernels = UNTUNED,
    ) -> None:
        self._target = target
        self._pool = pool
        self._journal = journal
        self._database = database
        self._tuned = tuned
        self._known: dict[LayerShape, LayerResult] = {}
        self._estimates: dict[LayerShape, float] = {}

    def __call__(self, layers: Sequence[LayerShape]) -> float:
        """Milliseconds of `layers`: measured where confirmed, else estimated; infinite where one does not run."""
        return math.fsum(self._price(layer) for layer in _with_kernels(layers))

    def confirm(self, layers: Sequence[LayerShape]) -> None:
        """Measure every layer that was not measured yet; where all are known, no device is asked.

        Raises:
            NoDeviceLeftError: If the devices are gone; what they had measured is kept.
        """
        wanted = [layer for layer in dict.fromkeys(_with_kernels(layers)) if layer not in self._known]
        self._measure([layer for layer in wanted if self._journal.recorded(layer) is None])
        for layer in wanted:
            result = self._journal.recorded(layer)
            assert result is not None
            self._learn(layer, result)

    def problems(self, layers: Sequence[LayerShape]) -> list[str]:
        """Why some of `layers` cannot run, by name."""
        found = [(layer.name, self._known.get(replace(layer, name=""))) for layer in layers]
        return [f"{name}: {known.problem}" for name, known in found if known is not None and known.problem is not None]

    def catch_up(self, stage: str) -> None:
        """Know what was known when `stage`, which an interrupted run had finished, ended."""
        for layer, result in self._journal.up_to(stage).items():
            self._learn(layer, result)

    def _learn(self, layer: LayerShape, result: LayerResult) -> None:
        self._known[layer] = result
        self._estimates.clear()

    def _price(self, layer: LayerShape) -> float:
        known = self._known.get(layer)
        if known is not None:
            return math.inf if known.milliseconds is None else known.milliseconds
        if layer not in self._estimates:
            self._estimates[layer] = self._estimate(layer)
        return self._estimates[layer]

    def _estimate(self, layer: LayerShape) -> float:
        """The model's time, scaled as for the measured layer of the same kind and size that is nearest in MACs."""
        modelled = modelled_latency_ms([layer], self._target)
        alike = [
            (abs(other.macs - layer.macs), astuple(other), other, known.milliseconds)
            for other, known in self._known.items()
            if known.milliseconds is not None and other.kind == layer.kind and other.output_hw == layer.output_hw
        ]
        if not alike:
            return modelled
        _, _, nearest, milliseconds = min(alike)  # of equally near ones the same, whatever the order measured in
        return modelled * milliseconds / modelled_latency_ms([nearest], self._target)

    def _measure(self, layers: Sequence[LayerShape]) -> None:
        """Compile and measure layers, and journal them in this order, whichever device was faster."""
        if not layers:
            return
        jobs: deque[_Job] = deque()
        with (
            tempfile.TemporaryDirectory(prefix="act-layers-") as folder,
            LatencyDatabase(self._database) as database,
        ):
            for index, layer in enumerate(layers):
                jobs.append(self._begin(layer, Path(folder) / f"layer-{index}", database))
                while jobs and jobs[0].is_done:
                    self._finish(jobs.popleft(), database)
            self._finish_all(jobs, database)

    def _begin(self, layer: LayerShape, stem: Path, database: LatencyDatabase) -> _Job:
        """Compile a layer, and hand it to the pool unless all of its kernels are known."""
        from ..compiler.compile import compile_onnx
        from ..compiler.layer_onnx import write_layer_onnx

        onnx, package = write_layer_onnx(layer, stem.with_suffix(".onnx")), stem.with_suffix(".actpkg")
        try:
            compile_onnx(onnx, self._target, output=package, tuned=self._tuned)
        except CompileError as error:
            return _Job(layer=layer, result=LayerResult(problem=str(error)))
        content = read_package(package)
        keys = {
            index: kernel_key(content, index)
            for index, step in enumerate(content.steps)
            if step.source_operator not in _AROUND_A_LAYER
        }
        if all(self._known_us(key, database) is not None for key in keys.values()):
            return _Job(layer=layer, keys=keys)
        kernels = len(content.steps)
        return _Job(layer=layer, keys=keys, future=self._pool.submit(lambda device: _timed(package, device, kernels)))

    def _finish(self, job: _Job, database: LatencyDatabase) -> None:
        self._journal.append(job.layer, job.result or self._result(job, database))

    def _result(self, job: _Job, database: LatencyDatabase) -> LayerResult:
        """What the database and the device say of a layer; kernels that the database has by now keep their times."""
        device = ""
        if job.future is not None:
            try:
                stats = self._pool.result(job.future)
            except (CandidateError, PackageError) as error:
                return LayerResult(problem=str(error), device=self._pool.id)
            device = stats.device
            for index, key in job.keys.items():
                if self._known_us(key, database) is None:
                    database.put_kernel(key, self._pool.fingerprint, stats.per_kernel_us[index], samples=TIMED_RUNS)
        times = [self._known_us(key, database) or 0.0 for key in job.keys.values()]
        return LayerResult(milliseconds=math.fsum(times) / 1000, device=device)

    def _finish_all(self, jobs: Iterable[_Job], database: LatencyDatabase) -> None:
        """Finish what can be finished, even where no device is left for the rest: nothing measured is lost."""
        lost: DeviceError | None = None
        for job in jobs:
            try:
                self._finish(job, database)
            except DeviceError as error:
                lost = lost or error
        if lost is not None:
            raise lost

    def _known_us(self, key: str, database: LatencyDatabase) -> float | None:
        return database.get_kernel(key, self._pool.fingerprint)


def _timed(package: Path, device: Device, kernels: int) -> LatencyStats:
    stats = measure(package, device, runs=TIMED_RUNS, max_seconds=1.0, profile_runs=TIMED_RUNS)
    if len(stats.per_kernel_us) != kernels:
        raise DeviceError(f"{device.id} gave {len(stats.per_kernel_us)} kernel times for {kernels} kernels")
    return stats


def _with_kernels(layers: Sequence[LayerShape]) -> list[LayerShape]:
    """Layers that the compiler does not fuse into others, without their names: equal shapes are measured once."""
    return [replace(layer, name="") for layer in layers if layer.kind != "elementwise"]
