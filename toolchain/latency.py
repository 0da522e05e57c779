"""Latency as a cost of candidates: the target's model, or kernels measured on a device that was named.

The two kinds are never mixed in one figure that is reported. Within a search on a device, a layer that was not yet
measured is estimated from the nearest measured one, scaled by the model's ratio; what a search settles on is measured
before it counts.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from ..compiler.kernel_choice import UNTUNED, TunedKernels
from ..compiler.latency_model import modelled_latency_ms
from ..compiler.layer_shape import LayerShape
from ..compiler.targets import Target
from ..device.devices import Device

TIMED_RUNS = 30


class LatencyCost(Protocol):
    """Prices lists of layers in milliseconds."""

    def __call__(self, layers: Sequence[LayerShape]) -> float:
        """Milliseconds of `layers` at batch 1; quick, asked for thousands of times."""

    def confirm(self, layers: Sequence[LayerShape]) -> None:
        """Make the price of exactly these layers as good as it can be."""


class ModelledLatency:
    """Milliseconds by the target's analytic model."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def __call__(self, layers: Sequence[LayerShape]) -> float:
        """Modelled milliseconds of `layers` at batch 1."""
        return modelled_latency_ms(layers, self._target)

    def confirm(self, layers: Sequence[LayerShape]) -> None:
        """Do nothing: a modelled price is what it is."""


class MeasuredLatency:
    """Milliseconds by the sum of kernels measured on one device, each layer compiled and run on its own.

    Args:
        target: What kernels are compiled for.
        device: Where they run.
        replay: Records of an interrupted run; their layers are not measured again.
        on_measured: Receives a record of each new measurement.
        database: The latency database; by default the user's.
        tuned: Kernels that were tuned for the target.
    """

    def __init__(
        self,
        target: Target,
        device: Device,
        *,
        replay: Iterable[dict[str, Any]] = (),
        on_measured: Callable[[dict[str, Any]], None] | None = None,
        database: Path | None = None,
        tuned: TunedKernels = UNTUNED,
    ) -> None:
        self._target = target
        self._device = device
        self._on_measured = on_measured
        self._database = database
        self._tuned = tuned
        self._measured = {_shape_of(record["layer"]): float(record["milliseconds"]) for record in replay}
        self._estimates: dict[LayerShape, float] = {}

    def __call__(self, layers: Sequence[LayerShape]) -> float:
        """Milliseconds of `layers`: measured where they were confirmed, else estimated."""
        return sum(self._price(_nameless(layer)) for layer in layers if layer.kind != "elementwise")

    def confirm(self, layers: Sequence[LayerShape]) -> None:
        """Measure every layer that was not measured yet."""
        for layer in dict.fromkeys(_nameless(layer) for layer in layers if layer.kind != "elementwise"):
            if layer in self._measured:
                continue
            milliseconds = self._measure(layer)
            self._measured[layer] = milliseconds
            self._estimates.clear()
            if self._on_measured is not None:
                self._on_measured({"layer": asdict(layer), "milliseconds": milliseconds})

    def _price(self, layer: LayerShape) -> float:
        known = self._measured.get(layer)
        if known is not None:
            return known
        if layer not in self._estimates:
            self._estimates[layer] = self._estimate(layer)
        return self._estimates[layer]

    def _estimate(self, layer: LayerShape) -> float:
        """The model's time, scaled as for the measured layer of the same kind and size that is nearest in MACs."""
        modelled = modelled_latency_ms([layer], self._target)
        alike = [other for other in self._measured if other.kind == layer.kind and other.output_hw == layer.output_hw]
        if not alike:
            return modelled
        nearest = min(alike, key=lambda other: abs(other.macs - layer.macs))
        return modelled * self._measured[nearest] / modelled_latency_ms([nearest], self._target)

    def _measure(self, layer: LayerShape) -> float:
        from ..compiler.compile import compile_onnx
        from ..compiler.layer_onnx import write_layer_onnx
        from ..device.database import LatencyDatabase, kernel_key
        from ..device.harness import measure
        from ..device.package_format import read_package

        with tempfile.TemporaryDirectory(prefix="act-layer-") as name, LatencyDatabase(self._database) as database:
            onnx = write_layer_onnx(layer, Path(name) / "layer.onnx")
            package = Path(name) / "layer.actpkg"
            compile_onnx(onnx, self._target, output=package, tuned=self._tuned)
            content = read_package(package)
            fingerprint = self._device.info.fingerprint
            keys = [kernel_key(content, index) for index in range(len(content.steps))]
            found = [database.get_kernel(key, fingerprint) for key in keys]
            times = [value for value in found if value is not None]
            if len(times) < len(keys):
                stats = measure(package, self._device, runs=TIMED_RUNS, max_seconds=1.0, profile_runs=TIMED_RUNS)
                times = list(stats.per_kernel_us or ())
                for key, value in zip(keys, times, strict=True):
                    database.put_kernel(key, fingerprint, value, samples=TIMED_RUNS)
        return sum(times) / 1000


def _nameless(layer: LayerShape) -> LayerShape:
    return replace(layer, name="")


def _shape_of(record: dict[str, Any]) -> LayerShape:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    return LayerShape(**values)
