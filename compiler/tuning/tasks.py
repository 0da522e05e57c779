"""What there is to tune in a package: each distinct layer once, with the steps that compute it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...device.package_format import Package, PackageError
from ..compile import KERNELS_KEY
from ..kernel_choice import LayerKey, layer_key
from ..layer_shape import WEIGHTED_KINDS, LayerShape

__all__ = ["TuningTask", "layer_text", "parse_layer", "tasks_of"]

# Raised when the schedules change, so that times of other kernels are not taken for theirs.
TEMPLATES_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class TuningTask:
    """One layer to tune.

    Attributes:
        shape: Its sizes, without a name.
        batch: Images a run; of a linear layer, rows.
        names: Source operators of the steps that compute it.
        modelled_us: Of all of them, by the target's model.
    """

    shape: LayerShape
    batch: int
    names: tuple[str, ...]
    modelled_us: float

    @property
    def text(self) -> str:
        """What the records call it."""
        return layer_text(self.shape, self.batch)

    @property
    def label(self) -> str:
        """For people: the first name, and how many more there are."""
        more = len(self.names) - 1
        return f"{self.names[0]} (+{more})" if more else self.names[0]


def tasks_of(package: Package) -> tuple[TuningTask, ...]:
    """The layers of a package that have tiles, those that the model calls slowest first.

    Raises:
        PackageError: If the package does not say what its layers are: an older version made it.
    """
    found: dict[LayerKey, TuningTask] = {}
    for record, step in zip(_records(package), package.steps, strict=True):
        if record is None:
            continue
        shape, batch = _shape(record["layer"]), int(record["batch"])
        if shape.kind not in WEIGHTED_KINDS:
            continue
        key = layer_key(shape, batch)
        before = found.get(key, TuningTask(shape=key[0], batch=batch, names=(), modelled_us=0.0))
        names, modelled_us = (*before.names, step.source_operator), before.modelled_us + step.modelled_us
        found[key] = replace(before, names=names, modelled_us=modelled_us)
    return tuple(sorted(found.values(), key=lambda task: -task.modelled_us))


def layer_text(shape: LayerShape, batch: int) -> str:
    """A layer as the records' key."""
    sizes = {name: value for name, value in asdict(shape).items() if name != "name"}
    return json.dumps({"templates": TEMPLATES_VERSION, "batch": batch, **sizes})


def parse_layer(text: str) -> LayerKey | None:
    """The inverse of `layer_text`; None for a layer of other schedules, or what is none."""
    try:
        values = json.loads(text)
        if values.pop("templates") != TEMPLATES_VERSION:
            return None
        batch = int(values.pop("batch"))
        return _shape({"name": "", **values}), batch
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _records(package: Package) -> Sequence[dict[str, Any] | None]:
    """Of each step, what its kernel is; None for those without a layer."""
    try:
        records = json.loads(package.metadata[KERNELS_KEY])
        if len(records) != len(package.steps):
            raise ValueError("another number of steps")
        return [record if record["layer"] is not None else None for record in records]
    except (ValueError, KeyError, TypeError) as error:
        raise PackageError(
            "the package does not say what its layers are: compile its ONNX file again, or tune that file"
        ) from error


def _shape(values: dict[str, Any]) -> LayerShape:
    sizes: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return LayerShape(**sizes)
