"""Solvers by name, with their settings in units that mean the same for every size of data."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ...models.naming import unknown_name
from .admm import Admm, RhoSchedule
from .base import Projection, Solver, SolverError, SolverOptions
from .slr import Slr, SlrSchedule

SOLVERS = ("admm", "slr")


@dataclass(frozen=True, kw_only=True)
class SolverSettings:
    """What a solver needs to know of training and of how hard to pull.

    Attributes:
        name: One of `SOLVERS`.
        epochs: Epochs of training.
        steps: Optimizer steps in an epoch.
        rate: What a constant gradient of 1 moves a weight in a step: learning rate / (1 - momentum).
        pull_start: ADMM's pull in the first epoch, in e-folds an epoch (see `RhoSchedule.from_pull`).
        pull_end: The same in the last epoch.
        slr_pull: SLR's pull, constant.
    """

    name: str
    epochs: int
    steps: int
    rate: float
    pull_start: float
    pull_end: float
    slr_pull: float


def make_solver(
    settings: SolverSettings,
    weights: Mapping[str, nn.Parameter],
    project: Projection,
    options: SolverOptions | None = None,
) -> Solver:
    """The solver that settings name.

    Args:
        settings: Name and settings.
        weights: The trained weights by layer.
        project: Projection onto the structured set.
        options: What all solvers have.

    Raises:
        SolverError: If there is none of that name.
    """
    if settings.name == "admm":
        schedule = RhoSchedule.from_pull(
            settings.pull_start, settings.pull_end, epochs=settings.epochs, steps=settings.steps, rate=settings.rate
        )
        return Admm(weights, project, schedule, options)
    if settings.name == "slr":
        constant = SlrSchedule.from_pull(
            settings.slr_pull, epochs=settings.epochs, steps=settings.steps, rate=settings.rate
        )
        return Slr(weights, project, constant, options)
    raise SolverError(unknown_name("solver", settings.name, SOLVERS))
