"""Latency as a cost of candidates: what a search asks, and the answer of the target's model.

The answer of devices is in `measured_latency`. The two kinds are never mixed in one figure that is reported.
"""

from collections.abc import Sequence
from typing import Protocol

from ..compiler.latency_model import modelled_latency_ms
from ..compiler.layer_shape import LayerShape
from ..compiler.targets import Target


class LatencyCost(Protocol):
    """Prices lists of layers in milliseconds."""

    def __call__(self, layers: Sequence[LayerShape]) -> float:
        """Milliseconds of `layers` at batch 1; infinite where one is known not to run. Asked thousands of times."""

    def confirm(self, layers: Sequence[LayerShape]) -> None:
        """Make the price of exactly these layers as good as it can be; those of several candidates at once."""

    def problems(self, layers: Sequence[LayerShape]) -> list[str]:
        """Why some of `layers` cannot run; empty where nothing is known against any."""

    def catch_up(self, stage: str) -> None:
        """Know what was known when `stage`, which an interrupted run had finished, ended."""


class ModelledLatency:
    """Milliseconds by the target's analytic model."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def __call__(self, layers: Sequence[LayerShape]) -> float:
        """Modelled milliseconds of `layers` at batch 1."""
        return modelled_latency_ms(layers, self._target)

    def confirm(self, layers: Sequence[LayerShape]) -> None:
        """Do nothing: a modelled price is what it is."""

    def problems(self, layers: Sequence[LayerShape]) -> list[str]:
        """None: a model runs anything."""
        return []

    def catch_up(self, stage: str) -> None:
        """Do nothing: the model knows what it always knew."""
