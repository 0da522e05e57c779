"""ADMM: drives the weights onto the structured set of an action while the network trains.

    W-step   train on  f(W) + sum_l rho/2 · ‖W_l - Z_l + U_l‖²   (the penalty's gradient is added in place)
    Z-step   Z <- projection of W + U onto the action's structured set
    U-step   U <- U + W - Z

`rho` grows geometrically over the epochs; the dual is scaled by it, so `U` is rescaled by `rho_old / rho_new` each
time. Initially `Z = projection(W)`, `U = 0`. AutoCompress (arXiv:1907.03141), section 3.3.

In the first half of the epochs the Z-step chooses freely what is kept; then the choice is settled, and the Z-step
projects onto that one subspace. With few epochs the choice would otherwise still change when pruning comes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class RhoSchedule:
    """Penalty weight, from `start` in the first epoch to `end` in the last of `epochs`, geometrically."""

    start: float
    end: float
    epochs: int

    def at(self, epoch: int) -> float:
        """`rho` during epoch `epoch`, from 0."""
        if self.epochs < 2:
            return self.end
        return float(self.start * (self.end / self.start) ** (min(epoch, self.epochs - 1) / (self.epochs - 1)))

    @classmethod
    def from_pull(cls, start: float, end: float, *, epochs: int, steps: int, rate: float) -> "RhoSchedule":
        """A schedule in e-folds an epoch, which means the same for every size of data.

        Args:
            start: `pull` of the first epoch: the penalty alone multiplies `W - Z + U` by `exp(-pull)` in an epoch.
            end: The same for the last epoch.
            epochs: Epochs of ADMM.
            steps: Optimizer steps in an epoch.
            rate: What a constant gradient of 1 moves a weight in a step: learning rate / (1 - momentum).
        """
        return cls(start=start / (steps * rate), end=end / (steps * rate), epochs=epochs)


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """Relative residuals after an epoch: `‖W - Z‖ / ‖W‖` and `‖Z - Z_old‖ / ‖W‖`, over all layers."""

    epoch: int
    rho: float
    primal_residual: float
    dual_residual: float


class Admm:
    """The solver: a penalty for `training.train`, and the plan that its last projection chose.

    Args:
        weights: The trained weights by layer; read and penalised in place.
        project: Projection of a set of weights onto the structured set: new tensors, removed entries exactly 0.
        schedule: Growth of `rho`.
        on_residuals: Receives the residuals after every epoch.
    """

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        project: Callable[[Weights], Weights],
        schedule: RhoSchedule,
        on_residuals: Callable[[Residuals], None] | None = None,
    ) -> None:
        self._weights = dict(weights)
        self._project = project
        self._schedule = schedule
        self._on_residuals = on_residuals
        self._rho = schedule.at(0)
        self._z = project(self._values())
        self._u = {name: torch.zeros_like(value) for name, value in self._z.items()}

    def _values(self) -> Weights:
        return {name: parameter.detach() for name, parameter in self._weights.items()}

    def add_gradients(self) -> None:
        """Add `rho · (W - Z + U)` to each weight's gradient; three additions in place, which need no memory."""
        gradients = [parameter.grad for parameter in self._weights.values() if parameter.grad is not None]
        assert len(gradients) == len(self._weights), "gradients are added to after a backward pass"
        torch._foreach_add_(gradients, list(self._values().values()), alpha=self._rho)
        torch._foreach_add_(gradients, [self._z[name] for name in self._weights], alpha=-self._rho)
        torch._foreach_add_(gradients, [self._u[name] for name in self._weights], alpha=self._rho)

    def end_epoch(self, epoch: int) -> None:
        """Z-step and U-step, then the next `rho`."""
        values = self._values()
        old_z = self._z
        self._z = self._z_step(self.target(), settled=2 * (epoch + 1) > self._schedule.epochs)
        for name, value in values.items():
            self._u[name] = self._u[name] + value - self._z[name]
        if self._on_residuals is not None:
            self._on_residuals(
                Residuals(
                    epoch=epoch,
                    rho=self._rho,
                    primal_residual=_relative_distance(values, self._z, values),
                    dual_residual=_relative_distance(self._z, old_z, values),
                )
            )
        rho = self._schedule.at(epoch + 1)
        for name in self._u:
            self._u[name] = self._u[name] * (self._rho / rho)
        self._rho = rho

    def _z_step(self, target: Weights, *, settled: bool) -> Weights:
        if not settled:
            return self._project(target)
        return {name: torch.where(self._z[name] != 0, value, 0.0) for name, value in target.items()}

    @property
    def z(self) -> Weights:
        """The last projection; exactly 0 where it prunes."""
        return dict(self._z)

    def target(self) -> Weights:
        """`W + U`, what is projected."""
        return {name: value + self._u[name] for name, value in self._values().items()}

    def state_dict(self) -> dict[str, Any]:
        """`rho`, `Z` and `U`."""
        return {"rho": self._rho, "z": self._z, "u": self._u}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`'s values onto the weights' device."""
        self._rho = float(state["rho"])
        for kept, loaded in ((self._z, state["z"]), (self._u, state["u"])):
            for name in kept:
                kept[name] = loaded[name].to(self._weights[name].device)


def _relative_distance(a: Weights, b: Weights, scale: Weights) -> float:
    distance = sum(float((a[name] - b[name]).square().sum()) for name in a)
    size = sum(float(value.square().sum()) for value in scale.values())
    return float((distance / max(size, 1e-30)) ** 0.5)
