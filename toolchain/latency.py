"""Latency as a cost of candidates: the target's model, or kernels measured on a device that was named."""

from collections.abc import Sequence

from ..compiler.latency_model import modelled_latency_ms
from ..compiler.layer_shape import LayerShape
from ..compiler.targets import Target


class ModelledLatency:
    """Milliseconds by the target's analytic model."""

    kind = "modelled"

    def __init__(self, target: Target) -> None:
        self._target = target

    def __call__(self, layers: Sequence[LayerShape]) -> float:
        """Modelled milliseconds of `layers` at batch 1."""
        return modelled_latency_ms(layers, self._target)
