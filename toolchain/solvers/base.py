"""What every pruning solver is: a penalty for training that drives weights onto a structured set, by splitting.

Weights `W` are trained on the loss, an auxiliary copy `Z` lies on the set (a projection gives it), and a dual variable
pulls the two together. Solvers differ in how the dual moves: `admm`, `slr`. They share what is here: projection, the
choice that settles, residuals, and when to stop.

In the first half of the epochs the projection chooses freely what is kept; then the choice is settled, and it projects
onto that one subspace. With few epochs the choice would otherwise still change when pruning comes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Protocol

import torch
from torch import nn

from ...models.naming import unknown_name
from ..training import Penalty

Weights = dict[str, torch.Tensor]
Projection = Callable[[Weights], Weights]


class SolverError(ValueError):
    """Settings of a solver that do not fit the network."""


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """Relative residuals after an epoch: `‖W - Z‖ / ‖W‖` and `‖Z - Z_old‖ / ‖W‖`.

    Attributes:
        epoch: Epoch, from 0.
        rho: Penalty weight during the epoch.
        primal_residual: Over all layers.
        dual_residual: Over all layers.
        layer_primal: By layer, relative to the layer's own weights.
        layer_dual: The same.
    """

    epoch: int
    rho: float
    primal_residual: float
    dual_residual: float
    layer_primal: Mapping[str, float]
    layer_dual: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class StopRule:
    """A solver has converged when both residuals stayed at or under `tolerance` for `epochs` epochs; 0 is never."""

    tolerance: float = 0.0
    epochs: int = 3


@dataclass(frozen=True, kw_only=True)
class SolverOptions:
    """What all solvers have.

    Attributes:
        rho_of_layer: Multiplier of `rho` by layer, above 0; 1 where missing.
        stop: When it has converged; by default never.
        on_residuals: Receives the residuals after every epoch.
    """

    rho_of_layer: Mapping[str, float] = field(default_factory=dict)
    stop: StopRule = StopRule()
    on_residuals: Callable[[Residuals], None] | None = None


class Solver(Penalty, Protocol):
    """A penalty that leads somewhere: `training.train` drives it, `z` is where."""

    @property
    def z(self) -> Weights:
        """The last projection: new tensors, exactly 0 where it prunes."""

    @property
    def residuals(self) -> Residuals | None:
        """Residuals after the last epoch."""


class SplittingSolver:
    """`W` and `Z` with everything that does not depend on how the dual moves.

    Args:
        weights: The trained weights by layer; read and penalised in place.
        project: Projection of a set of weights onto the structured set: new tensors, removed entries exactly 0.
        epochs: Epochs of training; in the second half what is kept is settled.
        options: What all solvers have.
    """

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        project: Projection,
        *,
        epochs: int,
        options: SolverOptions | None = None,
    ) -> None:
        options = options or SolverOptions()
        self._weights = dict(weights)
        self._project = project
        self._epochs = epochs
        self._rho_of_layer = {name: options.rho_of_layer.get(name, 1.0) for name in self._weights}
        self._stop = options.stop
        self._on_residuals = options.on_residuals
        self._calm_epochs = 0
        self._residuals: Residuals | None = None
        self._z = project(self._values())

    @property
    def z(self) -> Weights:
        """The last projection; exactly 0 where it prunes."""
        return dict(self._z)

    @property
    def residuals(self) -> Residuals | None:
        """Residuals after the last epoch; None before, and in a restored solver until its next epoch ends."""
        return self._residuals

    @property
    def converged(self) -> bool:
        """Whether both residuals stayed under the tolerance long enough."""
        return self._stop.tolerance > 0 and self._calm_epochs >= self._stop.epochs

    def on_loss(self, loss: torch.Tensor) -> None:
        """Take note of a step's loss; most solvers need none."""

    def _values(self) -> Weights:
        return {name: parameter.detach() for name, parameter in self._weights.items()}

    def _zeros(self) -> Weights:
        return {name: torch.zeros_like(value) for name, value in self._z.items()}

    def _add_pull(self, offset: Weights, rho: float) -> None:
        """Add `rho_l · (W - Z + offset)` to each weight's gradient; three additions in place, which need no memory."""
        for multiplier in sorted(set(self._rho_of_layer.values())):
            names = [name for name, own in self._rho_of_layer.items() if own == multiplier]
            gradients, strength = self._gradients(names), rho * multiplier
            torch._foreach_add_(gradients, [self._weights[name].detach() for name in names], alpha=strength)
            torch._foreach_add_(gradients, [self._z[name] for name in names], alpha=-strength)
            torch._foreach_add_(gradients, [offset[name] for name in names], alpha=strength)

    def _gradients(self, names: Sequence[str]) -> list[torch.Tensor]:
        gradients = [self._weights[name].grad for name in names]
        assert all(gradient is not None for gradient in gradients), "add_gradients comes after backward"
        return [gradient for gradient in gradients if gradient is not None]

    def _move_z(self, target: Weights, epoch: int) -> Weights:
        """Set `Z` to the projection of `target`; returns the old one."""
        old = self._z
        if 2 * (epoch + 1) > self._epochs:
            self._z = {name: torch.where(old[name] != 0, value, 0.0) for name, value in target.items()}
        else:
            self._z = self._project(target)
        return old

    def _record(self, epoch: int, rho: float, old_z: Weights) -> None:
        """Work out the residuals of an epoch, count calm epochs, and pass the residuals on."""
        size = _squares(self._values())
        primal, dual = _squares(self._values(), self._z), _squares(self._z, old_z)
        self._residuals = Residuals(
            epoch=epoch,
            rho=rho,
            primal_residual=_ratio(primal.values(), size.values()),
            dual_residual=_ratio(dual.values(), size.values()),
            layer_primal={name: _rounded(_ratio([value], [size[name]])) for name, value in primal.items()},
            layer_dual={name: _rounded(_ratio([value], [size[name]])) for name, value in dual.items()},
        )
        calm = max(self._residuals.primal_residual, self._residuals.dual_residual) <= self._stop.tolerance
        self._calm_epochs = self._calm_epochs + 1 if calm else 0
        if self._on_residuals is not None:
            self._on_residuals(self._residuals)

    def _load(self, kept: Weights, loaded: Mapping[str, torch.Tensor]) -> None:
        """Take over saved tensors, onto the weights' device."""
        for name in kept:
            kept[name] = loaded[name].to(self._weights[name].device)

    def _common_state(self) -> dict[str, Any]:
        return {"z": self._z, "calm_epochs": self._calm_epochs}

    def _load_common(self, state: Mapping[str, Any]) -> None:
        self._load(self._z, state["z"])
        self._calm_epochs = int(state.get("calm_epochs", 0))


def rho_by_layer(patterns: Mapping[str, float], layers: Sequence[str]) -> dict[str, float]:
    """Multipliers of `rho` by layer, from shell patterns; the last pattern that fits a layer counts.

    Args:
        patterns: Multiplier by layer name or pattern, such as `{"layer3.*": 2.0}`.
        layers: Names of the network's layers.

    Raises:
        SolverError: If a pattern fits no layer.
    """
    chosen: dict[str, float] = {}
    for pattern, multiplier in patterns.items():
        fitting = [name for name in layers if fnmatchcase(name, pattern)]
        if not fitting:
            raise SolverError(unknown_name("layer in prune.layer_rho", pattern, layers, plural="layers"))
        chosen |= dict.fromkeys(fitting, multiplier)
    return chosen


def mean_over_workers(value: torch.Tensor) -> float:
    """Mean of a scalar over the processes of a distributed training; the value itself where there is one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return float(value)
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return float(total) / torch.distributed.get_world_size()


def _squares(a: Weights, b: Weights | None = None) -> dict[str, float]:
    return {name: float((value if b is None else value - b[name]).square().sum()) for name, value in a.items()}


def _ratio(part: Iterable[float], whole: Iterable[float]) -> float:
    return float((sum(part) / max(sum(whole), 1e-30)) ** 0.5)


def _rounded(value: float) -> float:
    """Four digits: the journal holds a record for every layer and epoch."""
    return float(f"{value:.4g}")
