"""Batch-norm folding: the weights that a layer really applies, and networks without batch norm.

In evaluation, batch norm after a layer is ``gamma/sqrt(var + eps) * (W x + b - mean) + beta``: a scale of each filter
and a bias. Filter norms under batch norm are scale-free until folded, so ranking reads folded weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor, fx, nn

from ..models.layers import ColumnConv2d
from .capture import CapturedNetwork

__all__ = ["FoldableNorm", "fold_batch_norm", "foldable_norms", "folded_weights", "plain_weights", "row_scales"]

WeightedModule: TypeAlias = nn.Conv2d | ColumnConv2d | nn.Linear
NORM_TYPES = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True, kw_only=True)
class FoldableNorm:
    """A batch norm that alone reads a layer's output."""

    layer: str
    norm: str
    layer_node: fx.Node
    norm_node: fx.Node


def foldable_norms(network: CapturedNetwork) -> Iterator[FoldableNorm]:
    """Batch norms that can be folded, in execution order: used once, directly after a layer that is used once."""
    nodes = [node for node in network.module.graph.nodes if node.op == "call_module"]
    calls: dict[str, int] = {}
    for node in nodes:
        calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    for node in nodes:
        if not isinstance(network.module.get_submodule(str(node.target)), NORM_TYPES):
            continue
        source = node.args[0] if node.args else node.kwargs.get("input")
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
            continue
        layer = network.module.get_submodule(str(source.target))
        once = calls[str(node.target)] == 1 and calls[str(source.target)] == 1
        if once and isinstance(layer, nn.Conv2d | ColumnConv2d | nn.Linear):
            yield FoldableNorm(layer=str(source.target), norm=str(node.target), layer_node=source, norm_node=node)


def weighted_modules(network: CapturedNetwork) -> dict[str, WeightedModule]:
    """Convolutions and linear layers by module path, in execution order, each once."""
    found: dict[str, WeightedModule] = {}
    for node in network.module.graph.nodes:
        if node.op == "call_module":
            module = network.module.get_submodule(str(node.target))
            if isinstance(module, nn.Conv2d | ColumnConv2d | nn.Linear):
                found[str(node.target)] = module
    return found


def plain_weights(network: CapturedNetwork) -> dict[str, Tensor]:
    """Weights as they are, by layer: ``(c_out, c_in/groups, kh, kw)``, ``(c_out, K)`` packed, or ``(out, in)``.

    They are detached, not copied.
    """
    return {name: module.weight.detach() for name, module in weighted_modules(network).items()}


def row_scales(network: CapturedNetwork) -> dict[str, Tensor]:
    """The factor ``gamma/sqrt(var + eps)`` of every filter, ``(c_out,)``, of layers directly before a batch norm."""
    scales = {}
    for found in foldable_norms(network):
        scale, _ = _scale_and_shift(_norm_module(network.module, found.norm))
        scales[found.layer] = scale.detach()
    return scales


def folded_weights(network: CapturedNetwork, weights: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Weights with the scale of the batch norm behind them, by layer: what ranking should read.

    Args:
        network: Gives the batch norms, and the weights where none are given.
        weights: Other weights of the same layers, such as ADMM's ``W + U``.

    Returns:
        New tensors where a layer has a batch norm; the others as given.
    """
    scales = row_scales(network)
    values = plain_weights(network) if weights is None else weights
    return {
        name: value * scales[name].to(value).view(-1, *[1] * (value.ndim - 1)) if name in scales else value
        for name, value in values.items()
    }


def fold_batch_norm(network: CapturedNetwork) -> CapturedNetwork:
    """A copy in evaluation mode whose batch norms are part of the layers before them.

    Args:
        network: Left as it is.

    Returns:
        New network; a batch norm that does not directly follow a layer stays.
    """
    module = copy.deepcopy(network.module).eval()
    folded = replace(network, module=module)
    with torch.no_grad():
        for found in list(foldable_norms(folded)):
            _fold_into(module, found)
    module.graph.lint()
    module.delete_all_unused_submodules()
    module.recompile()
    present = {node.name for node in module.graph.nodes}
    return replace(folded, shapes={name: shape for name, shape in network.shapes.items() if name in present})


def _fold_into(module: fx.GraphModule, found: FoldableNorm) -> None:
    layer = module.get_submodule(found.layer)
    if not isinstance(layer, nn.Conv2d | ColumnConv2d | nn.Linear):
        raise TypeError(f"layer {found.layer!r} is a {type(layer).__name__}, which has no weight to fold into")
    scale, shift = _scale_and_shift(_norm_module(module, found.norm))
    bias = shift if layer.bias is None else shift + scale * layer.bias.double()
    weight = layer.weight.double() * scale.view(-1, *[1] * (layer.weight.ndim - 1))
    # Layers and their parameters are shared with nothing: `module` is a deep copy.
    layer.weight = nn.Parameter(weight.to(layer.weight.dtype), requires_grad=False)
    layer.bias = nn.Parameter(bias.to(layer.weight.dtype), requires_grad=False)
    found.norm_node.replace_all_uses_with(found.layer_node)
    module.graph.erase_node(found.norm_node)


def _scale_and_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Double precision, so that folding adds no error of its own."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(
            "a batch norm without running statistics cannot be folded; train with track_running_stats=True"
        )
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()


def _norm_module(module: fx.GraphModule, name: str) -> nn.BatchNorm1d | nn.BatchNorm2d:
    norm = module.get_submodule(name)
    if not isinstance(norm, NORM_TYPES):
        raise TypeError(f"{name!r} is a {type(norm).__name__}, not a batch norm")
    return norm
