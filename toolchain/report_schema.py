"""The schema of `report.json` (version 1), as `act compress --json` prints it too.

Accuracies are percentages, latencies milliseconds, kernel times microseconds. A reader tolerates missing optional
figures (a run without a local device has no measured latency) and keys that a later version adds; a figure of another
type is refused.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

SCHEMA_VERSION = 1


class ReportError(ValueError):
    """A report that is missing, damaged, or of another version."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Latency(_Record):
    """One latency; figures of different kinds or devices are never compared. `flags`: what disturbed it, and how."""

    kind: str
    target: str | None = None
    device: str | None = None
    device_name: str | None = None
    model_version: str | int | float | None = None
    p50: float | None = None
    p90: float | None = None
    samples_ms: tuple[float, ...] = ()
    batch: int = 1
    precision: str = "fp32"
    flags: dict[str, str] = {}
    state: Any = None

    @property
    def place(self) -> tuple[str, str, int, str]:
        """What must agree before two latencies are compared."""
        return self.kind, self.device or self.target or "", self.batch, self.precision

    @property
    def disturbance(self) -> str:
        """The flags as one line; empty where nothing disturbed the measurement."""
        return "; ".join(f"{flag}: {reason}" for flag, reason in self.flags.items())

    @property
    def label(self) -> str:
        """`modelled, adreno640, batch 1, fp32`."""
        kind, place, batch, precision = self.place
        return ", ".join(part for part in (kind, place, f"batch {batch}", precision) if part)


class Figures(_Record):
    """The figures of one network: the dense one (`baseline`) or the compressed one (`result`).

    `costs` are what the search reckons with, by objective. Its latency is the model's sum over layers; the latency of
    the package counts the kernels that the compiler adds, so the two do not belong on one axis.
    """

    accuracy_top1: float | None = None
    search_accuracy_top1: float | None = None
    params: int | None = None
    conv_params: int | None = None
    column_indices: int | None = None
    macs: int | None = None
    file_bytes: int | None = None
    latency: tuple[Latency, ...] = ()
    costs: dict[str, float] = {}
    reference: str | None = None

    def cost(self, objective: str) -> float | None:
        """The cost in the unit of `objective`, from `costs` where they are given."""
        known: dict[str, float | None] = {"params": self.params, "macs": self.macs, **self.costs}
        return known.get(objective, self.modelled_ms())

    def modelled_ms(self) -> float | None:
        """The modelled latency, or None."""
        return next((entry.p50 for entry in self.latency if entry.kind == "modelled"), None)


class Constraint(_Record):
    """What was asked for, what was reached, and whether all of it holds."""

    asked: dict[str, float | None] = {}
    reached: dict[str, float | None] = {}
    met: bool | None = None


class Round(_Record):
    """One compression round, after its retraining."""

    round: int | str
    macs: float | None = None
    params: float | None = None
    latency_ms: float | None = None
    search_accuracy_top1: float | None = None
    accepted: bool = True

    @property
    def number(self) -> int:
        """The round's number."""
        return round_number(self.round)

    def cost(self, objective: str) -> float | None:
        """The round's cost in the unit of `objective`."""
        return {"params": self.params, "macs": self.macs}.get(objective, self.latency_ms)


class Trial(_Record):
    """One candidate of the search, judged before any retraining; `cost` is in the objective's unit."""

    round: int | str
    index: int = 0
    accuracy: float | None = None
    cost: float | None = None

    @property
    def number(self) -> int:
        """The number of the round it belongs to."""
        return round_number(self.round)


class ParetoPoint(_Record):
    """A candidate that no other of its round beats in both quick accuracy and cost, where a search looked for these."""

    round: int | str
    accuracy: float
    cost: float

    @property
    def number(self) -> int:
        """The number of the round it belongs to."""
        return round_number(self.round)


class Layer(_Record):
    """Filters, columns and MACs of one layer, before and after."""

    name: str
    kind: str = ""
    filters_before: int
    filters_after: int
    columns_before: int
    columns_after: int
    macs_before: int = 0
    macs_after: int = 0


class Frozen(_Record):
    """A layer that is not pruned, and why."""

    layer: str
    reason: str


class KernelTime(_Record):
    """One kernel of the package."""

    name: str
    source_operator: str = ""
    lowering: str = ""
    reason: str = ""
    tile: str = ""
    tile_reason: str = ""
    macs: int = 0
    modelled_us: float | None = None
    measured_us: float | None = None


class Prediction(_Record):
    """A sum of kernels beside what the whole network took; `relative_error` is (predicted - measured) / measured."""

    name: str
    predicted_ms: float | None = None
    measured_ms: float | None = None
    kernels_ms: float | None = None
    relative_error: float | None = None
    device: str = ""
    problem: str | None = None


class NotRunnable(_Record):
    """A layer that the devices cannot run, so that no candidate with it was taken."""

    layer: dict[str, Any]
    problem: str

    @property
    def text(self) -> str:
        """`conv, 16 to 12 channels, 40 columns, 8 × 8 outputs`."""
        get = self.layer.get
        sizes = " × ".join(str(size) for size in get("output_hw", ()))
        return f"{get('kind')}, {get('c_in')} to {get('c_out')} channels, {get('columns')} columns, {sizes} outputs"


class Equality(_Record):
    """One link of the equality chain; `difference` is relative to the largest output."""

    pair: str
    difference: float | None = None
    tolerance: float
    passed: bool


class Report(_Record):
    """One run. `device` is what measured the latency that was its cost; without one, that was modelled."""

    schema_version: int
    act_version: str = ""
    created: str = ""
    command: str = ""
    run: str = ""
    seed: int | None = None
    network: dict[str, Any] = {}
    data: dict[str, Any] = {}
    target: dict[str, Any] = {}
    objective: str = "latency"
    device: str | None = None
    granularity: str = ""
    baseline: Figures
    result: Figures
    accuracy_drop: float | None = None
    ratios: dict[str, float | None] = {}
    constraint: Constraint = Constraint()
    rounds: tuple[Round, ...] = ()
    trials: tuple[Trial, ...] = ()
    pareto: tuple[ParetoPoint, ...] = ()
    layers: tuple[Layer, ...] = ()
    frozen: tuple[Frozen, ...] = ()
    kernels: tuple[KernelTime, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    not_runnable: tuple[NotRunnable, ...] = ()
    equality: tuple[Equality, ...] = ()
    environment: dict[str, Any] = {}
    files: dict[str, Any] = {}

    @property
    def title(self) -> str:
        """`resnet20 on digits`."""
        return " on ".join(str(part["name"]) for part in (self.network, self.data) if part.get("name")) or self.run

    def baseline_cost(self) -> float | None:
        """The dense network's cost on the axis of trials and rounds."""
        return self.baseline.cost(self.objective)

    def result_cost(self) -> float | None:
        """The result's cost on that axis; the result is the last accepted round, retrained."""
        accepted = [item.cost(self.objective) for item in self.rounds if item.accepted]
        known = self.result.costs.get(self.objective)
        return known or (accepted[-1] if accepted else self.result.cost(self.objective))


def round_number(name: int | str) -> int:
    """Return the number in a round's name (`round 2 search` is 2); 0 where there is none."""
    found = re.search(r"\d+", str(name))
    return int(found.group()) if found else 0


def parse_report(values: Mapping[str, Any], *, source: str) -> Report:
    """Check the values of a report.

    Raises:
        ReportError: Naming what is wrong in `source`.
    """
    if values.get("schema_version") != SCHEMA_VERSION:
        found = values.get("schema_version")
        raise ReportError(f"{source} has schema version {found!r}; this version of act reads {SCHEMA_VERSION}")
    try:
        return Report.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ReportError(f"{source} is not a report of act: {where}: {first['msg']}") from None


def read_report(folder: Path) -> dict[str, Any]:
    """Read the `report.json` of a run folder (or the file itself).

    Raises:
        ReportError: If there is none, or it is damaged.
    """
    path = folder / "report.json" if folder.is_dir() else folder
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReportError(f"{folder} has no report.json: give the folder of a finished run of act compress") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ReportError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ReportError(f"{path} is not a report of act: it holds no JSON object")
    parse_report(values, source=str(path))
    return values
