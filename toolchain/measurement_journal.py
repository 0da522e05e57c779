"""Measured layers in the journal of a run, so that a resumed run neither measures twice nor knows too early.

Estimates depend on what has been measured so far. A run that is resumed therefore does not start with all that it once
measured: each record counts from the moment at which the uninterrupted run learnt it, be it that a stage asks for that
layer again, or that the stage which asked for it is finished and skipped.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..compiler.layer_shape import LayerShape
from .run_folder import Journal


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """What a device said of one layer: its time, or why it does not run there; never both.

    Attributes:
        milliseconds: Sum of its kernels.
        problem: Why it cannot be built or run; then there is no time.
        device: Which one said so; empty where the database or the compiler did.
        flags: What speaks against the time (`device.quality`), by name; the time stands for this run alone.
    """

    milliseconds: float | None = None
    problem: str | None = None
    device: str = ""
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.milliseconds is None) == (self.problem is None):
            raise ValueError(f"a layer has either a time or a problem, got {self}")


class MeasurementJournal:
    """The records of measured layers among a run's events.

    Args:
        events: The run's journal of events.
    """

    def __init__(self, events: Journal) -> None:
        self._events = events
        self._recorded: dict[LayerShape, LayerResult] = {}
        self._of_stage: dict[str, list[LayerShape]] = {}
        since_last_stage: list[LayerShape] = []
        for event in events:
            if event.get("event") == "measured":
                layer = _shape_of(event["layer"])
                self._recorded[layer] = _result_of(event)
                since_last_stage.append(layer)
            elif event.get("event") == "finished":
                self._of_stage.setdefault(event["stage"], []).extend(since_last_stage)
                since_last_stage = []

    def recorded(self, layer: LayerShape) -> LayerResult | None:
        """What the interrupted run, or this one, found."""
        return self._recorded.get(layer)

    def up_to(self, stage: str) -> dict[LayerShape, LayerResult]:
        """What was found between the end of the stage before and the end of `stage`, in the order found."""
        return {layer: self._recorded[layer] for layer in self._of_stage.get(stage, ())}

    def append(self, layer: LayerShape, result: LayerResult) -> None:
        """Record a new result."""
        values = {name: value for name, value in asdict(result).items() if value not in (None, "", ())}
        self._events.append({"event": "measured", "layer": asdict(layer), **values})
        self._recorded[layer] = result


def _result_of(event: Mapping[str, Any]) -> LayerResult:
    return LayerResult(
        milliseconds=event.get("milliseconds"),
        problem=event.get("problem"),
        device=event.get("device", ""),
        flags=tuple(event.get("flags", ())),
    )


def _shape_of(record: Mapping[str, Any]) -> LayerShape:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    return LayerShape(**values)
