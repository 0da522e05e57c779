"""Networks for the commands: a registered or own network with weights, or the compact network of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ..models.preprocessing import Preprocessing
from ..models.registry import ModelSpec, create_model, default_arguments
from ..models.weights import load_into, load_weights, save_weights
from .capture import CapturedNetwork, capture
from .compaction import compact
from .config import ScalarArgument
from .coupling import find_coupling
from .plan import PruningPlan, load_plan
from .run_folder import RunFolderError


@dataclass(frozen=True, kw_only=True)
class LoadedNetwork:
    """A network with what rebuilds it and the preprocessing its weights expect."""

    network: CapturedNetwork
    spec: ModelSpec
    preprocessing: Preprocessing


def load_network(
    name: str,
    *,
    weights: Path | None,
    preprocessing: Preprocessing,
    num_classes: int,
    image_shape: tuple[int, int, int],
    arguments: Mapping[str, ScalarArgument] | None = None,
    allow_code: bool = False,
    seed: int = 0,
) -> LoadedNetwork:
    """Create a network, load its weights and capture its graph.

    Args:
        name: Registered name, or `package.module:factory` where `allow_code`.
        weights: safetensors or torch file; None leaves the random weights of `seed`.
        preprocessing: The data's own record; the weights' record wins, where they carry one.
        num_classes: Classes of the data.
        image_shape: `(c, h, w)` of the data.
        arguments: Constructor arguments that override those derived from the data.
        allow_code: Whether `name` may name code.
        seed: Of the random weights.

    Raises:
        ModelError, WeightsError, CaptureError: See there.
    """
    loaded = None if weights is None else load_weights(weights)
    if loaded is not None:
        preprocessing = loaded.preprocessing_for(preprocessing)
    # Some networks are built for one size: that of what they get, to which images may be resized.
    shape = (image_shape[0], preprocessing.height, preprocessing.width)
    derived = default_arguments(name, num_classes=num_classes, image_shape=shape)
    spec = ModelSpec(name=name, arguments={**derived, **(arguments or {})})
    model = _create(spec, allow_code=allow_code, seed=seed)
    if loaded is not None:
        load_into(model, loaded)
    return LoadedNetwork(network=capture(model.eval(), shape), spec=spec, preprocessing=preprocessing)


def _create(spec: ModelSpec, *, allow_code: bool, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create_model(spec.name, allow_code=allow_code, **spec.arguments)


def rebuild(dense: CapturedNetwork, plan: PruningPlan, weights: Path) -> CapturedNetwork:
    """The compact network of `plan` with the weights of a file.

    Args:
        dense: The network that the plan refers to; its weights do not matter.
        plan: In `dense`'s indices.
        weights: Written by `save_network`.
    """
    network = compact(dense, find_coupling(dense), plan)
    load_into(network.module, load_weights(weights))
    network.module.eval()
    return network


def save_network(path: Path, network: CapturedNetwork, metadata: Mapping[str, str] | None = None) -> None:
    """Write a network's weights as safetensors, atomically."""
    state = {name: value.detach().cpu().contiguous() for name, value in network.module.state_dict().items()}
    save_weights(path, state, metadata=dict(metadata or {}))


@dataclass(frozen=True, kw_only=True)
class LoadedRun:
    """The compact network of a finished run."""

    network: CapturedNetwork
    spec: ModelSpec
    plan: PruningPlan
    preprocessing: Preprocessing
    folder: Path


def load_run(folder: Path, *, model_from_flag: str | None = None) -> LoadedRun:
    """Rebuild a run's compact network from `pruning_plan.json` and `weights.safetensors` alone.

    Args:
        folder: A run folder.
        model_from_flag: `package.module:factory`, needed where the run compressed a network that is code.

    Raises:
        RunFolderError: If the folder holds no finished network.
        PlanError, WeightsError: If a file is damaged.
    """
    for name in ("pruning_plan.json", "weights.safetensors"):
        if not (folder / name).is_file():
            raise RunFolderError(
                f"{folder} holds no finished network ({name} is missing): give a run folder of act compress, "
                f"or finish the run with act compress --resume --out {folder}"
            )
    saved = load_plan(folder / "pruning_plan.json", code_from_flag=model_from_flag)
    model = _create(saved.spec, allow_code=model_from_flag is not None, seed=0)
    dense = capture(model.eval(), saved.input_shape)
    network = rebuild(dense, saved.plan, folder / "weights.safetensors")
    return LoadedRun(
        network=network, spec=saved.spec, plan=saved.plan, preprocessing=saved.preprocessing, folder=folder
    )


def preprocessing_with_classes(record: Preprocessing, class_names: tuple[str, ...]) -> Preprocessing:
    """The record with class names, where it has none."""
    return record if record.class_names else replace(record, class_names=class_names)
