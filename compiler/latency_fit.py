"""Fit the latency model's constants to kernels that were measured on one device.

    minimise  sum over kernels of loss(log(modelled / measured))
              + PRIOR * sum over constants of log(constant / default)^2
    loss(e) = 2 OUTLIER^2 (sqrt(1 + (e / OUTLIER)^2) - 1)

The loss is a square below `OUTLIER` and a line above: a time that other work on the device stretched moves little. The
second term is worth a small part of a kernel: it decides what the measurements leave open (one kernel says nothing
of the cost of launching), and makes the result a smooth path from the target's defaults to what the device says. The
constants are those of `ModelParameters` that differ between devices; the machine's rates stay as the target has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from .latency_model import ModelParameters, default_parameters, modelled_kernels
from .layer_shape import LayerShape
from .schedules.tile import is_gpu
from .targets import Target

__all__ = ["fit_parameters"]

PRIOR: Final = 0.02
OUTLIER: Final = 0.25
_BOUNDS: Final = MappingProxyType(
    {"wait_us": (1e-5, 10.0), "launch_us": (0.05, 1e4), "efficiency": (0.01, 1.0), "resident_waves": (1.0, 1e3)}
)
# Steps of the search, as logarithms: from a factor of four to 1 %.
_STEPS: Final = tuple(math.log(4.0) / 2**power for power in range(8))


def fit_parameters(shapes: Sequence[LayerShape], microseconds: Sequence[float], target: Target) -> ModelParameters:
    """The model's constants for the device on which these kernels were measured.

    Use them for layers that were not measured there: ``modelled_latency_ms(layers, target, parameters)``. Everything
    that is compared must be priced with the same constants.

    Args:
        shapes: Layers, each as it was compiled; at least one.
        microseconds: What the kernel of each took on the device, alone, in the target's precision.
        target: What they were compiled for.

    Returns:
        Constants in place of `default_parameters`; the same for the same measurements, in whatever order.

    Raises:
        ValueError: If there is no kernel, the lengths differ, or a time is not positive and finite.
    """
    if not shapes or len(shapes) != len(microseconds):
        raise ValueError(f"a time for each of one or more kernels is needed, got {len(shapes)} and {len(microseconds)}")
    if not all(0 < value < math.inf for value in microseconds):
        raise ValueError(f"times must be positive and finite, got {min(microseconds)} to {max(microseconds)} us")
    measured = sorted(zip(shapes, microseconds, strict=True), key=repr)
    start = default_parameters(target)
    free = ["wait_us", "launch_us", "efficiency", *(["resident_waves"] if is_gpu(target) else [])]

    def miss(parameters: ModelParameters) -> float:
        kernels = modelled_kernels([shape for shape, _ in measured], target, parameters)
        error = sum(
            _loss(math.log(kernel.modelled_us / value)) for kernel, (_, value) in zip(kernels, measured, strict=True)
        )
        moved = sum(math.log(getattr(parameters, name) / getattr(start, name)) ** 2 for name in free)
        return error + PRIOR * moved

    best, least = start, miss(start)
    for step in _STEPS:
        improved = True
        while improved:
            improved = False
            for name in free:
                for factor in (math.exp(step), math.exp(-step)):
                    tried = _moved(best, name, factor)
                    value = miss(tried)
                    if value < least * (1 - 1e-6):
                        best, least, improved = tried, value, True
    return best


def _loss(error: float) -> float:
    return 2 * OUTLIER**2 * (math.sqrt(1 + (error / OUTLIER) ** 2) - 1)


def _moved(parameters: ModelParameters, name: str, factor: float) -> ModelParameters:
    low, high = _BOUNDS[name]
    return replace(parameters, **{name: min(max(getattr(parameters, name) * factor, low), high)})
