"""SLR, surrogate Lagrangian relaxation: ADMM's splitting with multipliers that move only where it is sure to help.

    L(W, Z, Λ) = f(W) + sum_l Λ_l·(W_l - Z_l) + rho_l/2 · ‖W_l - Z_l‖²

    W-step   train on L; if L fell, Λ <- Λ + s·(W - Z)
    Z-step   Z <- projection of W + Λ/rho; if L fell, k <- k + 1,
             s <- α_k · s · ‖W_old - Z_old‖ / ‖W - Z‖  and  Λ <- Λ + s·(W - Z)
             α_k = 1 - 1 / (M·k^(1 - 1/k^r))

Otherwise Λ and the step size stay. `W_old - Z_old` is the difference when `s` last changed. `f` is the loss of an
epoch's last steps, with weights that fall by a tenth a step (an epoch's mean lags behind the weights and would refuse
every update), over all workers where there are several, so that all decide alike. The first epoch has none before it
and counts as a fall; so does an L that stays as it is, for then W is the minimum, and the multipliers would never move
again. Paper's settings: M = 300, r = 0.1, s = 0.01, rho = 0.1.

Source: Gurevin et al., "Enabling Retrain-free Deep Neural Network Pruning Using Surrogate Lagrangian Relaxation",
arXiv:2012.10079.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .base import Projection, SolverOptions, SplittingSolver, Weights, mean_over_workers

LOSS_DECAY = 0.9
SAME = 1e-6


@dataclass(frozen=True, kw_only=True)
class SlrSchedule:
    """Settings of SLR.

    Attributes:
        epochs: Epochs of training.
        rho: Penalty weight, constant.
        first_step: Step size of the multipliers at first.
        m: How slowly the step size shrinks, above 1.
        r: How soon it shrinks slower still, in (0, 1).
    """

    epochs: int
    rho: float = 0.1
    first_step: float = 0.01
    m: float = 300.0
    r: float = 0.1

    def alpha(self, k: int) -> float:
        """Factor of the step size at the `k`-th update, from 1; in [0, 1)."""
        return float(1.0 - 1.0 / (self.m * k ** (1.0 - 1.0 / k**self.r)))

    @classmethod
    def from_pull(cls, pull: float, *, epochs: int, steps: int, rate: float) -> "SlrSchedule":
        """Settings in e-folds an epoch (see `RhoSchedule.from_pull`); the first step size is a tenth of `rho`."""
        rho = pull / (steps * rate)
        return cls(epochs=epochs, rho=rho, first_step=0.1 * rho)


class Slr(SplittingSolver):
    """The solver: a penalty for `training.train`, and the `Z` that its last projection gave.

    Args:
        weights: The trained weights by layer; read and penalised in place.
        project: Projection of a set of weights onto the structured set: new tensors, removed entries exactly 0.
        schedule: Settings.
        options: What all solvers have.
    """

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        project: Projection,
        schedule: SlrSchedule,
        options: SolverOptions | None = None,
    ) -> None:
        super().__init__(weights, project, epochs=schedule.epochs, options=options)
        self._schedule = schedule
        self._scaled = self._zeros()  # Λ / rho, so that the gradient has the form of ADMM's
        self._updates = 0
        self._step = schedule.first_step
        self._gap = self._distance()
        self._value = math.inf
        self._recent: torch.Tensor | None = None

    def add_gradients(self) -> None:
        """Add `Λ + rho_l · (W - Z)` to each weight's gradient."""
        self._add_pull(self._scaled, self._schedule.rho)

    def on_loss(self, loss: torch.Tensor) -> None:
        """Average the last steps' losses."""
        self._recent = loss if self._recent is None else LOSS_DECAY * self._recent + (1 - LOSS_DECAY) * loss

    def end_epoch(self, epoch: int) -> None:
        """Update the multipliers, `Z`, and the multipliers again, each where it lowered the Lagrangian."""
        assert self._recent is not None, "an epoch has at least one step"
        loss = mean_over_workers(self._recent)
        self._recent = None
        now = self._lagrangian(loss)
        if now < self._value or math.isclose(now, self._value, rel_tol=SAME):
            self._move_multipliers()
        before = self._lagrangian(loss)
        old_z = self._move_z(self.target(), epoch)
        if self._lagrangian(loss) < before:
            self._updates += 1
            gap = self._distance()
            if min(gap, self._gap) > 0:
                self._step *= self._schedule.alpha(self._updates) * self._gap / gap
            self._gap = gap or self._gap
            self._move_multipliers()
        self._value = self._lagrangian(loss)
        self._record(epoch, self._schedule.rho, old_z)

    def target(self) -> Weights:
        """`W + Λ/rho`, what is projected."""
        return {name: value + self._scaled[name] for name, value in self._values().items()}

    def _move_multipliers(self) -> None:
        """`Λ += s·(W - Z)`."""
        for name, value in self._values().items():
            share = self._step / (self._schedule.rho * self._rho_of_layer[name])
            self._scaled[name] = self._scaled[name] + share * (value - self._z[name])

    def _lagrangian(self, loss: float) -> float:
        total = loss
        for name, value in self._values().items():
            difference = value - self._z[name]
            rho = self._schedule.rho * self._rho_of_layer[name]
            product, square = (self._scaled[name] * difference).sum(), difference.square().sum()
            total += rho * (float(product) + 0.5 * float(square))
        return total

    def _distance(self) -> float:
        """`‖W - Z‖` over all layers."""
        return math.sqrt(sum(float((w - self._z[name]).square().sum()) for name, w in self._values().items()))

    def state_dict(self) -> dict[str, Any]:
        """`Z`, multipliers, step size and what it depends on."""
        return {
            "scaled": self._scaled,
            "updates": self._updates,
            "step": self._step,
            "gap": self._gap,
            "value": self._value,
            **self._common_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`'s values onto the weights' device."""
        self._load(self._scaled, state["scaled"])
        self._load_common(state)
        self._updates = int(state["updates"])
        self._step, self._gap, self._value = (float(state[key]) for key in ("step", "gap", "value"))
