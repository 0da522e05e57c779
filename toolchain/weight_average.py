"""Exponential moving average of weights during training.

    average <- d · average + (1 - d) · weights,   d = min(decay, (1 + n) / (10 + n)) in step n

The growing `d` forgets the first weights, so that a short training is averaged, too. Batch norm's running statistics
belong to the weights that made them; after `apply` they must be estimated anew.
"""

from typing import Any

import torch
from torch import nn


class WeightAverage:
    """The average of a module's parameters.

    Args:
        module: Read after every step.
        decay: Share of the old average that is kept in a step, in (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._parameters = list(module.parameters())
        self._averages = [parameter.detach().clone() for parameter in self._parameters]
        self._decay = decay
        self._steps = 0

    def update(self) -> None:
        """Take the weights after a step in."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, [p.detach() for p in self._parameters], 1 - decay)

    def apply(self) -> None:
        """Replace the module's weights by their average."""
        with torch.no_grad():
            torch._foreach_copy_([p.detach() for p in self._parameters], self._averages)

    def state_dict(self) -> dict[str, Any]:
        """Averages in the order of the parameters, and the number of steps."""
        return {"averages": self._averages, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for average, loaded in zip(self._averages, state["averages"], strict=True):
            average.copy_(loaded)
        self._steps = int(state["steps"])
