"""The resolved configuration of a run, as validated values: sections, effort presets, and what is wrong with others.

Outside the program a configuration is TOML or flags (`config_file`); both end here, in one `CompressConfig`.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from ..device.precision import Precision
from .granularity import Unstructured, granularity_from_name

Effort = Literal["quick", "normal", "thorough"]
Objective = Literal["params", "macs", "latency"]
SearchStrategy = Literal["annealing", "genetic", "greedy", "manual", "random", "ddpg"]
Ratio = Annotated[float, Field(ge=0, le=0.97)]
ScalarArgument = bool | int | float | str


class ConfigError(ValueError):
    """A flag or a configuration file that cannot be used; the message says what is allowed."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkConfig(_Section):
    """Which network, with which weights. Without weights the network is trained first."""

    model: str = "resnet20"
    weights: Path | None = None
    arguments: dict[str, ScalarArgument] = Field(default_factory=dict)


class DataConfig(_Section):
    """Which data. `search` and `test` parts never train anything; `image_size` is for folders of image files."""

    spec: str = "digits"
    search_data: str | None = None
    download: bool = False
    limit_train: int | None = Field(default=None, ge=1)
    image_size: int | None = Field(default=None, ge=1)


class GoalConfig(_Section):
    """The objective is made small; the constraints must hold. `precision` is that of the package, not of training."""

    target: str = "adreno640"
    precision: Precision = "fp32"
    device: str | None = None
    objective: Objective = "latency"
    params_x: float | None = Field(default=None, gt=1)
    macs_x: float | None = Field(default=None, gt=1)
    latency_ms: float | None = Field(default=None, gt=0)
    max_accuracy_drop: float | None = Field(default=None, ge=0, le=100)

    @property
    def has_cost_constraint(self) -> bool:
        """Whether a params, MACs or latency constraint was asked for."""
        return any(value is not None for value in (self.params_x, self.macs_x, self.latency_ms))

    @property
    def accuracy_budget(self) -> float | None:
        """Points of accuracy that may be lost; 1 by default where no cost constraint is asked for."""
        if self.max_accuracy_drop is not None or self.has_cost_constraint:
            return self.max_accuracy_drop
        return 1.0


class PruneConfig(_Section):
    """How weights are driven onto the structured set.

    `admm_epochs` and `admm_learning_rate` are those of the solver, whichever it is. `pull` sets its `rho` without
    knowing the data's size: the penalty alone shrinks what is to be removed by `exp(-pull)` in an epoch at the peak
    learning rate; ADMM's grows, SLR's is constant. `layer_rho` multiplies `rho` of the layers that a pattern such as
    `layer3.*` names. `magnitude` is no solver but pruning at once; its epochs go to retraining. A solver ends early
    when both its residuals stay under `residual_tolerance`; 0 is never.
    """

    granularity: str = "combined"
    solver: Literal["admm", "slr", "magnitude"] = "admm"
    rank: Literal["folded", "raw", "l1"] = "folded"
    round_factor: float = Field(default=2.0, gt=1)
    max_rounds: int = Field(default=4, ge=1)
    max_back_offs: int = Field(default=2, ge=0)
    admm_epochs: int = Field(default=6, ge=1)
    admm_learning_rate: float = Field(default=0.01, gt=0)
    pull_start: float = Field(default=0.02, gt=0)
    pull_end: float = Field(default=3.0, gt=0)
    slr_pull: float = Field(default=1.0, gt=0)
    layer_rho: dict[str, PositiveFloat] = Field(default_factory=dict)
    residual_tolerance: float = Field(default=1e-3, ge=0)
    purify: bool = True
    purify_trials: int = Field(default=12, ge=0)

    @field_validator("granularity")
    @classmethod
    def _check_granularity(cls, name: str) -> str:
        if isinstance(granularity_from_name(name), Unstructured):
            raise ValueError(
                "without single weights a network is no smaller: there is nothing to compact, export or compile; "
                "act.toolchain.unstructured prunes and judges it"
            )
        return name


class RatesConfig(_Section):
    """Rates of a manual search: shares removed, by name or pattern (`layer1.*`), `default` for what nothing matches."""

    default: Ratio = 0.0
    filters: dict[str, Ratio] = Field(default_factory=dict)
    columns: dict[str, Ratio] = Field(default_factory=dict)

    @property
    def given(self) -> bool:
        """Whether any rate was given."""
        return bool(self.default or self.filters or self.columns)


class SearchConfig(_Section):
    """The search strategy, its budget, and its quick evaluation.

    `seconds` takes the place of `trials`: it becomes a number of evaluations once, at the search's start, for each
    round. What a device takes to measure unseen kernels comes on top: it depends on what it has measured before, and a
    search must not. `order` is what the first action's ratios follow: the chosen cost, or remaining weights (the
    paper's rule). `reestimate` is whether candidates are judged with batch-norm statistics of their own.
    """

    strategy: SearchStrategy = "annealing"
    rates: RatesConfig = RatesConfig()
    trials: int = Field(default=60, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    order: Literal["cost", "weights"] = "cost"
    images: int = Field(default=1000, ge=1)
    recalibration_images: int = Field(default=512, ge=32)
    reestimate: bool = True
    early_rejection: bool = False
    decay: float = Field(default=0.7, gt=0, lt=1)

    @model_validator(mode="after")
    def _rates_and_manual_go_together(self) -> Self:
        if (self.strategy == "manual") != self.rates.given:
            raise ValueError("a manual search needs rates (--search-rates FILE), and no other search takes any")
        return self


class TrainConfig(_Section):
    """Training of the dense network, of the reference, and retraining of what is left.

    `batch_size` is that of the whole batch, over all processes; `batch_parts` 0 is one a process.
    """

    batch_size: int = Field(default=128, ge=2)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    dense_epochs: int = Field(default=20, ge=1)
    dense_learning_rate: float = Field(default=0.1, gt=0)
    reference_epochs: int = Field(default=2, ge=0)
    retrain_epochs: int = Field(default=8, ge=1)
    final_epochs: int = Field(default=20, ge=1)
    retrain_learning_rate: float = Field(default=0.03, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    distillation: float = Field(default=0.7, ge=0, le=1)
    temperature: float = Field(default=3.0, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    compile: Literal["auto", "on", "off"] = "auto"
    batch_parts: int = Field(default=0, ge=0)


class CompressConfig(_Section):
    """Everything that decides what a run does; equal configurations and seeds give equal runs on one machine."""

    effort: Effort = "normal"
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0)
    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    goal: GoalConfig = GoalConfig()
    prune: PruneConfig = PruneConfig()
    search: SearchConfig = SearchConfig()
    train: TrainConfig = TrainConfig()


PRESETS: dict[Effort, dict[str, Any]] = {
    "quick": {},
    "normal": {
        "prune": {"admm_epochs": 20, "purify_trials": 20, "max_rounds": 8, "max_back_offs": 4},
        "search": {"trials": 200, "images": 2000},
        "train": {"reference_epochs": 4, "retrain_epochs": 20, "final_epochs": 60, "dense_epochs": 100},
    },
    "thorough": {
        "prune": {"admm_epochs": 100, "purify_trials": 40, "max_rounds": 8, "max_back_offs": 4},
        "search": {"trials": 600, "images": 5000},
        "train": {"reference_epochs": 8, "retrain_epochs": 100, "final_epochs": 200, "dense_epochs": 200},
    },
}


def validate(values: Mapping[str, Any], *, source: str) -> CompressConfig:
    """Validate nested values; unknown keys are refused with the nearest known one.

    Raises:
        ConfigError: Naming every bad key and value.
    """
    try:
        return CompressConfig.model_validate(dict(values))
    except ValidationError as error:
        lines = [explain(dict(item)) for item in error.errors()]
        raise ConfigError(f"configuration from {source}: " + "; ".join(lines)) from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values, those of `over` winning."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), dict) and key not in ("arguments", "rates")
        merged[key] = merge(merged[key], value) if both else value
    return merged


def explain(item: dict[str, Any]) -> str:
    """One line for one of pydantic's errors: the key, its value, and what is allowed."""
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "value_error":
        return f"{where}: {item['msg'].removeprefix('Value error, ')}"
    if item["type"] != "extra_forbidden":
        return f"{where} is {item['input']!r}: {item['msg']}"
    known = _known_keys(item["loc"][:-1])
    near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return f"unknown key {where!r}:{hint} known keys: {', '.join(known)}"


def _known_keys(path: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = CompressConfig
    for part in path:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
