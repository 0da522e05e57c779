"""Latency measured on devices: the sum of a candidate's kernels, each layer compiled and run on its own.

Layers that were not measured yet are estimated by the model, its constants fitted to what was measured (`latency_fit`),
and scaled as for the nearest measured layer; what a search settles on is measured before it counts. Compiling stays in
the caller's thread; the pool's devices measure at the same time. A layer that cannot be built or run is remembered as
such: it has no time, and every candidate with it costs infinitely much, so that a search goes around it. A time that
is flagged, after another try, serves this run and no other.
"""

import math
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Final

from ..compiler.errors import CompileError
from ..compiler.kernel_choice import UNTUNED, TunedKernels
from ..compiler.latency_fit import fit_parameters
from ..compiler.latency_model import ModelParameters, default_parameters, modelled_kernels
from ..compiler.layer_shape import LayerShape
from ..compiler.targets import Target
from ..device.database import LatencyDatabase, kernel_key
from ..device.devices import CandidateError, Device, DeviceError
from ..device.harness import LatencyStats, measure
from ..device.package_format import PackageError, read_package
from ..device.pool import DevicePool
from .measurement_journal import LayerResult, MeasurementJournal

TIMED_RUNS: Final = 30
ATTEMPTS: Final = 2
_AROUND_A_LAYER: Final = frozenset({"copy"})
"""The kernel that a layer on its own needs, and a network once: its input brought into the layout of its kernel."""
_BEHIND_A_CONVOLUTION: Final = frozenset({"max_pool"})
"""The kernel that reads a convolution's result, so that it is written as inside a network."""


@dataclass(frozen=True, kw_only=True)
class _Compiled:
    """A layer as a package, with the keys of its own kernels by step; or why there is none."""

    layer: LayerShape
    package: Path
    kernels: int = 0
    keys: dict[int, str] = field(default_factory=dict)
    problem: str | None = None


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
        self._parameters: ModelParameters | None = None

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
        self._parameters = None

    def _price(self, layer: LayerShape) -> float:
        known = self._known.get(layer)
        if known is not None:
            return math.inf if known.milliseconds is None else known.milliseconds
        if layer not in self._estimates:
            self._estimates[layer] = self._estimate(layer)
        return self._estimates[layer]

    def _estimate(self, layer: LayerShape) -> float:
        """The fitted model's time, scaled as for the measured layer of the same kind and size nearest in MACs."""
        modelled = self._modelled_ms(layer)
        alike = [
            (abs(other.macs - layer.macs), astuple(other), other, known.milliseconds)
            for other, known in self._known.items()
            if known.milliseconds is not None and other.kind == layer.kind and other.output_hw == layer.output_hw
        ]
        if not alike:
            return modelled
        _, _, nearest, milliseconds = min(alike)  # of equally near ones the same, whatever the order measured in
        return modelled * milliseconds / self._modelled_ms(nearest)

    def _modelled_ms(self, layer: LayerShape) -> float:
        """Of the layer's kernel, by the model's constants that fit all that was measured so far."""
        if self._parameters is None:
            measured = [(shape, known.milliseconds) for shape, known in self._known.items() if known.milliseconds]
            self._parameters = default_parameters(self._target)
            if measured:
                shapes, times_us = zip(*((shape, 1000 * time_ms) for shape, time_ms in measured), strict=True)
                self._parameters = fit_parameters(shapes, times_us, self._target)
        (kernel,) = modelled_kernels([layer], self._target, self._parameters)
        return kernel.modelled_us / 1000

    def _measure(self, layers: Sequence[LayerShape]) -> None:
        """Compile layers, then measure them, and journal them in this order, whichever device was faster.

        All are compiled first: a device of this machine must not be timed while the compiler keeps it busy.
        """
        if not layers:
            return
        with tempfile.TemporaryDirectory(prefix="act-layers-") as folder, LatencyDatabase(self._database) as database:
            compiled = [self._compile(layer, Path(folder) / f"layer-{i}.onnx") for i, layer in enumerate(layers)]
            begun = [self._submit(item) if self._lacks_time(item, database) else None for item in compiled]
            self._finish(zip(compiled, begun, strict=True), database)

    def _compile(self, layer: LayerShape, onnx: Path) -> _Compiled:
        from ..compiler.compile import compile_onnx
        from ..compiler.layer_onnx import write_layer_onnx

        package = onnx.with_suffix(".actpkg")
        try:
            compile_onnx(write_layer_onnx(layer, onnx, inside=True), self._target, output=package, tuned=self._tuned)
        except CompileError as error:
            return _Compiled(layer=layer, package=package, problem=str(error))
        content = read_package(package)
        around = _AROUND_A_LAYER | (_BEHIND_A_CONVOLUTION if layer.kind in ("conv", "depthwise") else frozenset())
        own = [i for i, step in enumerate(content.steps) if step.source_operator not in around]
        keys = {index: kernel_key(content, index) for index in own}
        return _Compiled(layer=layer, package=package, kernels=len(content.steps), keys=keys)

    def _lacks_time(self, item: _Compiled, database: LatencyDatabase) -> bool:
        return any(self._known_us(key, database) is None for key in item.keys.values())

    def _submit(self, item: _Compiled) -> "Future[LatencyStats]":
        return self._pool.submit(lambda device: _timed(item, device))

    def _finish(
        self, items: "Iterable[tuple[_Compiled, Future[LatencyStats] | None]]", database: LatencyDatabase
    ) -> None:
        """Journal all that was measured, even where no device is left for the rest: nothing measured is lost."""
        lost: DeviceError | None = None
        for item, future in items:
            try:
                self._journal.append(item.layer, self._result(item, future, database))
            except DeviceError as error:
                lost = lost or error
        if lost is not None:
            raise lost

    def _result(self, item: _Compiled, future: "Future[LatencyStats] | None", database: LatencyDatabase) -> LayerResult:
        """What database and device say of a layer; kernels that the database has by now keep their times."""
        if item.problem is not None:
            return LayerResult(problem=item.problem)
        known = {key: self._known_us(key, database) for key in item.keys.values()}
        if future is None:
            return LayerResult(milliseconds=math.fsum(value or 0.0 for value in known.values()) / 1000)
        try:
            stats = self._pool.result(future)
        except (CandidateError, PackageError) as error:
            return LayerResult(problem=str(error), device=self._pool.id)
        times = []
        for index, key in item.keys.items():
            measured = stats.per_kernel_us[index]
            times.append(known[key] or measured)
            if known[key] is None and not stats.flags:  # what is flagged must not outlive this run
                database.put_kernel(key, self._pool.fingerprint, measured, samples=TIMED_RUNS)
        flags = tuple(sorted(stats.flags))
        return LayerResult(milliseconds=math.fsum(times) / 1000, device=stats.device, flags=flags)

    def _known_us(self, key: str, database: LatencyDatabase) -> float | None:
        return database.get_kernel(key, self._pool.fingerprint)


def _timed(item: _Compiled, device: Device) -> LatencyStats:
    stats = measure(item.package, device, runs=TIMED_RUNS, max_seconds=1.0, profile_runs=TIMED_RUNS, attempts=ATTEMPTS)
    if len(stats.per_kernel_us) != item.kernels:
        raise DeviceError(f"{device.id} gave {len(stats.per_kernel_us)} kernel times for {item.kernels} kernels")
    return stats


def _with_kernels(layers: Sequence[LayerShape]) -> list[LayerShape]:
    """Layers that the compiler does not fuse into others, without their names: equal shapes are measured once."""
    return [replace(layer, name="") for layer in layers if layer.kind != "elementwise"]
