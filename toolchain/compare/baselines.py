"""Baselines that are no run of the pipeline: each makes an untrained or pruned network that meets the constraint.

What they return is trained by the caller, by the recipe and for the epochs of the run that they are compared with.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ...models.registry import ModelError, create_model, default_arguments, list_models
from ..capture import CapturedNetwork, CaptureError, capture
from ..cost import CostTable
from ..extras import require
from ..loading import load_run
from ..workbench import Workbench

__all__ = ["BASELINES", "Baseline", "BaselineError", "Starting"]

BISECTIONS = 10
MOST_RATIO = 0.98


class BaselineError(ValueError):
    """A baseline that cannot meet the constraint here."""


@dataclass(frozen=True, kw_only=True)
class Starting:
    """What a baseline starts from.

    Attributes:
        bench: Data, recipe and dense network of the comparison.
        dense: The dense network, trained.
        limits: Upper limits by kind of cost, `params` and `macs`.
        found: Run folder of the method that the others are compared with.
        code: `package.module:factory`, where the network is code.
    """

    bench: Workbench
    dense: CapturedNetwork
    limits: Mapping[str, float]
    found: Path
    code: str | None


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A network to train: from scratch or from what pruning left; `note` says what was chosen."""

    network: CapturedNetwork
    from_scratch: bool
    note: str = ""


def scratch(start: Starting) -> Baseline:
    """The compact shape that the run found, with new weights."""
    network = load_run(start.found, model_from_flag=start.code).network
    torch.manual_seed(start.bench.seed_of("scratch"))
    for module in network.module.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    return Baseline(network=network, from_scratch=True)


def stock(start: Starting) -> Baseline:
    """The registered network with most MACs that meets the limits.

    Raises:
        BaselineError: If none is small enough.
    """
    shape = start.dense.input_shape
    classes = start.dense.output_shape[0]
    best: tuple[float, str, CapturedNetwork] | None = None
    torch.manual_seed(start.bench.seed_of("stock"))
    for name in list_models():
        try:
            arguments = default_arguments(name, num_classes=classes, image_shape=shape)
            model = create_model(name, allow_code=False, **arguments)
            network = capture(model.eval(), shape)
        except (ModelError, CaptureError):
            continue  # it does not take images of this size
        costs = _costs(network)
        if _fits(costs, start.limits) and (best is None or costs["macs"] > best[0]):
            best = (costs["macs"], name, network)
    if best is None:
        raise BaselineError(f"no stock network is as small as {_text(start.limits)}")
    return Baseline(network=best[2], from_scratch=True, note=best[1])


def torch_pruning(start: Starting) -> Baseline:
    """The dense network pruned by Torch-Pruning's group norm, at the least uniform ratio that meets the limits.

    Raises:
        MissingExtraError: If Torch-Pruning is not installed.
        BaselineError: If it cannot prune the network that far.
    """
    require("torch_pruning", extra="compare", what="the method torch-pruning")
    low, high, best = 0.0, MOST_RATIO, None
    for step in range(BISECTIONS):
        ratio = high if step == 0 else (low + high) / 2
        network = _pruned(start.dense, ratio)
        if _fits(_costs(network), start.limits):
            high, best = ratio, (network, ratio)
        elif step == 0:
            raise BaselineError(f"Torch-Pruning does not reach {_text(start.limits)} on this network")
        else:
            low = ratio
    assert best is not None
    return Baseline(network=best[0], from_scratch=False, note=f"ratio {best[1]:.3f}")


def _pruned(dense: CapturedNetwork, ratio: float) -> CapturedNetwork:
    import torch_pruning as tp

    module = copy.deepcopy(dense.module).cpu().eval()
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    try:
        tp.pruner.GroupNormPruner(
            module,
            torch.zeros(1, *dense.input_shape),
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=layers[-1:],
        ).step()
        return capture(module, dense.input_shape)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BaselineError(f"Torch-Pruning fails on this network: {reason}") from error


def _costs(network: CapturedNetwork) -> dict[str, float]:
    table = CostTable(network)
    return {"params": float(table.count_params().total), "macs": float(table.count_macs())}


def _fits(costs: Mapping[str, float], limits: Mapping[str, float]) -> bool:
    return all(costs[kind] <= limit for kind, limit in limits.items())


def _text(limits: Mapping[str, float]) -> str:
    return ", ".join(f"{limit:,.0f} {kind}" for kind, limit in limits.items())


BASELINES: Mapping[str, Callable[[Starting], Baseline]] = {
    "scratch": scratch,
    "stock": stock,
    "torch_pruning": torch_pruning,
}
