"""Pruning of single weights: what structure costs in accuracy shows against it, and nothing else comes of it.

No plan can express it, and the network stays as large and as slow as it was: there is no compaction, export or package.
Weights are driven to zero by the same solvers, removed, and the rest is trained on with the zeros held. How many stay
in each layer is set once, by magnitude over the whole network, on batch-norm-folded weights, which compare across
layers; within a layer the Z-step is the exact Euclidean projection.

Source: the non-structured rows of AutoCompress, arXiv:1907.03141, table 5.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ..models.data import Augmentation
from .batches import Batches
from .capture import CapturedNetwork
from .folding import folded_weights, plain_weights, weighted_modules
from .projection import project_unstructured
from .recipe import Recipe
from .solvers.base import SolverOptions, Weights
from .solvers.selection import SolverSettings, make_solver
from .training import train

LEAST_SHARE = 0.005
"""Each layer keeps at least this share of its weights."""


@dataclass(frozen=True, kw_only=True)
class WeightCount:
    """Weights of convolutions and linear layers, without biases; `conv` counts convolutions alone."""

    total: int
    nonzero: int
    conv: int
    conv_nonzero: int


class FixedZeros:
    """A penalty for `training.train` that holds weights at the zeros they have: masked retraining.

    Args:
        weights: Parameters by layer; what is exactly 0 in them stays 0.
    """

    converged = False

    def __init__(self, weights: Mapping[str, nn.Parameter]) -> None:
        self._held = [(parameter, parameter.detach() == 0) for parameter in weights.values()]

    def add_gradients(self) -> None:
        """Zero the gradients of held weights; with momentum and weight decay from 0, they stay where they are."""
        for parameter, held in self._held:
            if parameter.grad is not None:
                parameter.grad.masked_fill_(held, 0.0)

    def on_loss(self, loss: torch.Tensor) -> None:
        """Do nothing."""

    def end_epoch(self, epoch: int) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the zeros are in the weights."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing."""


def prune_unstructured(
    network: CapturedNetwork,
    batches: Batches,
    augmentation: Augmentation,
    *,
    keep_share: float,
    solver: SolverSettings,
    recipe: Recipe,
    retraining: Recipe,
    device: torch.device,
    teacher: nn.Module | None = None,
    options: SolverOptions | None = None,
) -> WeightCount:
    """Drive single weights of `network` to zero, remove them, and retrain what is left; in place.

    Args:
        network: Trained network.
        batches: Training images.
        augmentation: How they are varied.
        keep_share: Share of the weights that stay, in (0, 1].
        solver: Which solver, with its settings.
        recipe: Training towards the set, of `solver.epochs` epochs.
        retraining: Training of what is left.
        device: Where to train.
        teacher: Distilled from, where the recipes ask for it.
        options: What all solvers have: when it has converged, who is told of residuals.

    Returns:
        What is left.

    Raises:
        ValueError: If `keep_share` is out of range.
    """
    keep = keep_counts(folded_weights(network), keep_share)
    module = network.module.to(device)
    weights = {name: cast(nn.Parameter, layer.weight) for name, layer in weighted_modules(network).items()}

    def project(values: Weights) -> Weights:
        return {name: project_unstructured(value, keep[name]) for name, value in values.items()}

    splitting = make_solver(solver, weights, project, options)
    recipe = replace(recipe, epochs=solver.epochs)
    train(module, batches, augmentation, recipe, device=device, teacher=teacher, penalty=splitting)
    with torch.no_grad():
        for name, z in splitting.z.items():
            weights[name].masked_fill_(z == 0, 0.0)
    train(module, batches, augmentation, retraining, device=device, teacher=teacher, penalty=FixedZeros(weights))
    return count_weights(network)


def keep_counts(weights: Mapping[str, torch.Tensor], keep_share: float) -> dict[str, int]:
    """Weights that each layer keeps where the largest of the whole network stay.

    Args:
        weights: By layer, on one scale (batch-norm folded), any shapes.
        keep_share: Share of all weights that stay, in (0, 1].

    Returns:
        Counts by layer, at least 1 and `LEAST_SHARE` of the layer; these can add a few to the share.

    Raises:
        ValueError: If `keep_share` is out of range.
    """
    if not 0 < keep_share <= 1:
        raise ValueError(f"share of weights to keep must be in (0, 1], got {keep_share}")
    magnitudes = {name: value.detach().abs().flatten().float().cpu().numpy() for name, value in weights.items()}
    everything = np.concatenate(list(magnitudes.values()))
    keep = max(1, round(keep_share * len(everything)))
    limit = np.partition(everything, len(everything) - keep)[len(everything) - keep]
    return {
        name: max(1, round(LEAST_SHARE * len(values)), int(np.count_nonzero(values >= limit)))
        for name, values in magnitudes.items()
    }


def count_weights(network: CapturedNetwork) -> WeightCount:
    """Count the weights of a network and those that are not 0."""
    weights = plain_weights(network)
    convs = [value for value in weights.values() if value.ndim == 4]
    return WeightCount(
        total=sum(value.numel() for value in weights.values()),
        nonzero=sum(int(torch.count_nonzero(value)) for value in weights.values()),
        conv=sum(value.numel() for value in convs),
        conv_nonzero=sum(int(torch.count_nonzero(value)) for value in convs),
    )
