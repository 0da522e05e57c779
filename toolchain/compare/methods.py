"""What can be compared: ways to configure a run, and baselines that are no run of ours.

Every method meets the same constraint, trains for as many epochs as the first one did, by the same recipe, and is
judged once on test data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import nearest_match

__all__ = ["DEFAULT_METHODS", "FIRST", "METHODS", "Method", "MethodError", "methods_named"]


class MethodError(ValueError):
    """An unknown method, or one that cannot be used here."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to a smaller network.

    Attributes:
        name: As on the command line.
        text: What it does, for the table.
        settings: Values of the configuration, nested, that it changes; empty for a baseline.
        baseline: Name of the function of `baselines` that it is, or None for a run of the pipeline.
    """

    name: str
    text: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    baseline: str | None = None


_ONE_RATE = {"strategy": "manual", "rates": {"default": 0.5}}

_ALL = (
    Method(name="act", text="annealing over filters and columns, ADMM, as act compress does"),
    Method(name="filter", text="filters only", settings={"prune": {"granularity": "filter"}}),
    Method(name="column", text="columns only", settings={"prune": {"granularity": "column"}}),
    Method(
        name="combined-block", text="filters and block columns", settings={"prune": {"granularity": "combined-block"}}
    ),
    Method(name="manual", text="one rate for every layer in place of a search", settings={"search": _ONE_RATE}),
    Method(name="random", text="random search, as many evaluations", settings={"search": {"strategy": "random"}}),
    Method(name="genetic", text="NSGA-II", settings={"search": {"strategy": "genetic"}}),
    Method(name="greedy", text="NetAdapt's search", settings={"search": {"strategy": "greedy"}}),
    Method(name="ddpg", text="AMC's agent", settings={"search": {"strategy": "ddpg"}}),
    Method(name="slr", text="SLR in place of ADMM", settings={"prune": {"solver": "slr"}}),
    Method(
        name="one-shot",
        text="magnitude pruning in place of ADMM, whose epochs go to retraining",
        settings={"prune": {"solver": "magnitude"}},
    ),
    Method(
        name="uniform-l1",
        text="one-shot filter pruning by L1 norm, one rate for every layer",
        settings={"prune": {"solver": "magnitude", "granularity": "filter", "rank": "l1"}, "search": _ONE_RATE},
    ),
    Method(name="raw-norms", text="ranked without batch norm's scales", settings={"prune": {"rank": "raw"}}),
    Method(name="no-purify", text="without purification", settings={"prune": {"purify": False}}),
    Method(
        name="no-reestimate",
        text="candidates judged with the dense network's batch-norm statistics",
        settings={"search": {"reestimate": False}},
    ),
    Method(name="no-distill", text="without distillation", settings={"train": {"distillation": 0.0}}),
    Method(name="scratch", text="the shape that act found, trained from scratch", baseline="scratch"),
    Method(name="stock", text="the largest stock network that meets the constraint, from scratch", baseline="stock"),
    Method(name="torch-pruning", text="Torch-Pruning's group-norm pruner", baseline="torch_pruning"),
)
METHODS: Mapping[str, Method] = {method.name: method for method in _ALL}
FIRST = "act"
DEFAULT_METHODS = (
    *(FIRST, "filter", "manual", "random", "genetic", "ddpg", "one-shot", "uniform-l1"),
    *("scratch", "stock", "torch-pruning"),
)


def methods_named(names: Sequence[str]) -> list[Method]:
    """Methods by name, each once, `act` first: the others train for as long as it did.

    Raises:
        MethodError: For an unknown name.
    """
    for name in names:
        if name not in METHODS:
            raise MethodError(f"unknown method {name!r}:{nearest_match(name, METHODS)} known: {', '.join(METHODS)}")
    return [METHODS[name] for name in dict.fromkeys((FIRST, *names))]
