"""Masks: a plan as zeros in the full-size network, for masked training and for quick evaluation.

A removed filter's row, bias, and its batch norm's gamma and beta are all zero, so that its channel is exactly zero
after the batch norm in training and in evaluation. Nothing is folded into the next bias: that is inexact at padded
borders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .capture import CapturedNetwork
from .coupling import Coupling
from .keep_indices import Kept, PruningPlan, resolve_plan

__all__ = ["Masks", "make_masks", "masked_weights"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Masks:
    """What a plan removes, by parameter name.

    Attributes:
        removed: Boolean tensors of the parameters' shapes, True where an entry is removed. Parameters of which
            nothing is removed have none.
    """

    removed: Mapping[str, Tensor]

    def to(self, device: torch.device | str) -> Masks:
        """The same masks on another device, so that applying them copies nothing."""
        return Masks(removed={name: mask.to(device) for name, mask in self.removed.items()})

    def apply_(self, module: nn.Module) -> None:
        """Zero the removed entries of a module's parameters, in place.

        Args:
            module: The masked network or a copy of it, on any device.
        """
        with torch.no_grad():
            for parameter, mask in self._pairs(module):
                parameter.masked_fill_(mask, 0.0)

    def apply_gradients_(self, module: nn.Module) -> None:
        """Zero the gradients of the removed entries, in place; parameters without a gradient are left out."""
        for parameter, mask in self._pairs(module):
            if parameter.grad is not None:
                parameter.grad.masked_fill_(mask, 0.0)

    def _pairs(self, module: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
        parameters = dict(module.named_parameters())
        missing = [name for name in self.removed if name not in parameters]
        if missing:
            raise ValueError(f"the masks are of another network: it has no parameter {missing[0]!r}")
        return [(parameters[name], mask.to(parameters[name].device)) for name, mask in self.removed.items()]


def make_masks(network: CapturedNetwork, coupling: Coupling, plan: PruningPlan) -> Masks:
    """Masks of a plan: filters with biases and batch norms, columns, and columns of removed input channels.

    Args:
        network: Gives the parameters' shapes and names.
        coupling: Its coupling groups.
        plan: In this network's indices.

    Raises:
        PlanError: If the plan does not fit the network.
    """
    kept = resolve_plan(coupling, plan)
    parameters = dict(network.module.named_parameters())
    removed: dict[str, Tensor] = {}
    for name in coupling.layers:
        gone = _removed_entries(kept, name)
        if gone.any():
            weight = parameters[f"{name}.weight"]
            removed[f"{name}.weight"] = torch.from_numpy(gone).view(weight.shape)
        _add_vector(removed, parameters, f"{name}.bias", ~kept.filters(name))
    for name, units in coupling.norms.items():
        _add_vector(removed, parameters, f"{name}.weight", ~kept.units[units])
        _add_vector(removed, parameters, f"{name}.bias", ~kept.units[units])
    return Masks(removed=removed)


def masked_weights(weights: Mapping[str, Tensor], coupling: Coupling, plan: PruningPlan) -> dict[str, Tensor]:
    """Weights with everything that a plan removes set to exactly 0: ADMM's projection, once the plan is chosen.

    Args:
        weights: By layer, any subset of the layers, shaped as the layers' parameters; left as they are.
        coupling: Of the network.
        plan: In its indices.

    Returns:
        New tensors, of the same dtypes and on the same devices.

    Raises:
        PlanError: If the plan does not fit the network.
    """
    kept = resolve_plan(coupling, plan)
    result = {}
    for name, weight in weights.items():
        gone = torch.from_numpy(_removed_entries(kept, name)).to(weight.device)
        result[name] = weight.detach().masked_fill(gone.view(weight.shape), 0.0)
    return result


def _removed_entries(kept: Kept, name: str) -> npt.NDArray[np.bool_]:
    """Which entries of the weight matrix ``(c_out, K)`` are removed."""
    layer = kept.coupling.layers[name]
    rows = kept.filters(name)
    columns = np.isin(layer.columns, kept.columns(name), assume_unique=True)
    return np.asarray(~(rows[:, None] & columns[None, :]))


def _add_vector(
    removed: dict[str, Tensor], parameters: Mapping[str, nn.Parameter], name: str, gone: npt.NDArray[np.bool_]
) -> None:
    if name in parameters and gone.any():
        removed[name] = torch.from_numpy(gone)
