"""ADMM: drives the weights onto the structured set of an action while the network trains.

    W-step   train on  f(W) + sum_l rho_l/2 · ‖W_l - Z_l + U_l‖²   (the penalty's gradient is added in place)
    Z-step   Z <- projection of W + U onto the action's structured set
    U-step   U <- U + W - Z

`rho` grows geometrically over the epochs, times a constant of each layer; the dual is scaled by it, so `U` is rescaled
by `rho_old / rho_new` each time. Initially `Z = projection(W)`, `U = 0`. AutoCompress (arXiv:1907.03141), section 3.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from .base import Projection, SolverOptions, SplittingSolver, Weights


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


class Admm(SplittingSolver):
    """The solver: a penalty for `training.train`, and the `Z` that its last projection gave.

    Args:
        weights: The trained weights by layer; read and penalised in place.
        project: Projection of a set of weights onto the structured set: new tensors, removed entries exactly 0.
        schedule: Growth of `rho`.
        options: What all solvers have.
    """

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        project: Projection,
        schedule: RhoSchedule,
        options: SolverOptions | None = None,
    ) -> None:
        super().__init__(weights, project, epochs=schedule.epochs, options=options)
        self._schedule = schedule
        self._rho = schedule.at(0)
        self._u = self._zeros()

    def add_gradients(self) -> None:
        """Add `rho_l · (W - Z + U)` to each weight's gradient."""
        self._add_pull(self._u, self._rho)

    def end_epoch(self, epoch: int) -> None:
        """Z-step and U-step, then the next `rho`."""
        old_z = self._move_z(self.target(), epoch)
        for name, value in self._values().items():
            self._u[name] = self._u[name] + value - self._z[name]
        self._record(epoch, self._rho, old_z)
        rho = self._schedule.at(epoch + 1)
        for name in self._u:
            self._u[name] = self._u[name] * (self._rho / rho)
        self._rho = rho

    def target(self) -> Weights:
        """`W + U`, what is projected."""
        return {name: value + self._u[name] for name, value in self._values().items()}

    def state_dict(self) -> dict[str, Any]:
        """`rho`, `Z` and `U`, and how long the residuals have been small."""
        return {"rho": self._rho, "u": self._u, **self._common_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`'s values onto the weights' device."""
        self._rho = float(state["rho"])
        self._load(self._u, state["u"])
        self._load_common(state)
