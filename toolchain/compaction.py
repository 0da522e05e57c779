"""Compaction: a plan becomes a physically smaller network.

Filters, their biases, batch-norm channels and the next layers' inputs are cut out; a convolution that lost columns
becomes a :class:`ColumnConv2d`; constants of the graph that count channels are rewritten. The result equals the masked
network, keeps its module paths, and is itself a captured network that can be pruned again.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from ..models.layers import ChannelPad, ChannelPermutation, ColumnConv2d
from .capture import CapturedNetwork, with_shapes
from .coupling import Coupling
from .grouped import SingleGroupConv2d
from .keep_indices import Kept, PruningPlan, normalize_plan, resolve_plan
from .operators import EXPANSIONS, PADS, RESHAPES, SPLITS
from .padding import channel_padding, symmetric_padding
from .unit_flow import NORM_TYPES

__all__ = ["compact", "normalize_plan"]

BoolArray = npt.NDArray[np.bool_]


def compact(network: CapturedNetwork, coupling: Coupling, plan: PruningPlan) -> CapturedNetwork:
    """Cut everything that a plan removes out of a copy of a network.

    Args:
        network: Left as it is.
        coupling: Its coupling groups.
        plan: In its indices.

    Returns:
        New captured network on the same device, in the same training mode, with the same module paths.

    Raises:
        PlanError: If the plan does not fit the network.
    """
    kept = resolve_plan(coupling, plan)
    module = copy.deepcopy(network.module)
    with torch.no_grad():
        for name in coupling.layers:
            _shrink_layer(module, name, kept)
        for name, units in coupling.norms.items():
            _shrink_norm(module.get_submodule(name), kept.units[units])
    for node in module.graph.nodes:
        _rewrite_constants(module, node, kept)
    module.graph.lint()
    module.recompile()
    return with_shapes(module, network.input_shape)


def _shrink_layer(module: fx.GraphModule, name: str, kept: Kept) -> None:
    layer, info = module.get_submodule(name), kept.coupling.layers[name]
    filters = kept.filters(name)
    if isinstance(layer, nn.Linear):
        inputs = kept.inputs(name)
        layer.weight = _cut(layer.weight, filters, inputs)
        layer.in_features, layer.out_features = int(inputs.sum()), int(filters.sum())
        _cut_bias(layer, filters)
    elif info.kind == "grouped" and isinstance(layer, nn.Conv2d):
        layer.weight = _cut(layer.weight, filters)
        layer.in_channels, layer.out_channels = int(kept.inputs(name).sum()), int(filters.sum())
        layer.groups = layer.in_channels // layer.weight.shape[1]
        _cut_bias(layer, filters)
        if layer.groups == 1:
            module.set_submodule(name, SingleGroupConv2d.from_conv(layer))
    elif info.kind == "conv" and isinstance(layer, nn.Conv2d | ColumnConv2d):
        module.set_submodule(name, _shrunk_conv(layer, name, kept))


def _shrunk_conv(layer: nn.Conv2d | ColumnConv2d, name: str, kept: Kept) -> nn.Module:
    info, filters, inputs, columns = (
        kept.coupling.layers[name],
        kept.filters(name),
        kept.inputs(name),
        kept.columns(name),
    )
    _cut_bias(layer, filters)
    stored = np.isin(info.columns, columns, assume_unique=True)
    flat = layer.weight.flatten(1)
    matrix = nn.Parameter(
        flat[_index(filters, flat)][:, _index(stored, flat)].contiguous(), requires_grad=layer.weight.requires_grad
    )
    kernel = (int(layer.kernel_size[0]), int(layer.kernel_size[1]))
    c_in, c_out = int(inputs.sum()), int(filters.sum())
    if kept.is_dense(name):
        dense = layer if isinstance(layer, nn.Conv2d) else _dense_like(layer)
        dense.weight = nn.Parameter(matrix.view(c_out, c_in, *kernel), requires_grad=layer.weight.requires_grad)
        dense.in_channels, dense.out_channels = c_in, c_out
        return dense
    # New number of each old input channel, then of each old column.
    channels = np.cumsum(inputs) - 1
    renumbered = channels[columns // info.kernel_area] * info.kernel_area + columns % info.kernel_area
    return _packed_like(layer, torch.from_numpy(renumbered.astype(np.int32)), matrix, c_in)


def _dense_like(layer: ColumnConv2d) -> nn.Conv2d:
    with torch.device("meta"):  # no memory and no random numbers: the caller sets the weight
        dense = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            bias=False,
        )
    dense.register_parameter("bias", layer.bias)
    return dense.train(layer.training)


def _packed_like(layer: nn.Conv2d | ColumnConv2d, columns: Tensor, matrix: nn.Parameter, c_in: int) -> ColumnConv2d:
    padding = symmetric_padding(layer)
    if padding is None:
        raise ValueError(f"a convolution padded by {layer.padding!r} cannot lose single columns")
    with torch.device("meta"):
        packed = ColumnConv2d(
            c_in,
            matrix.shape[0],
            (int(layer.kernel_size[0]), int(layer.kernel_size[1])),
            columns,
            stride=(int(layer.stride[0]), int(layer.stride[1])),
            padding=padding,
            dilation=(int(layer.dilation[0]), int(layer.dilation[1])),
            bias=False,
        )
    packed.columns = columns.to(matrix.device)
    packed.weight = matrix
    packed.bias = layer.bias if isinstance(layer.bias, nn.Parameter) else None
    return packed.train(layer.training)


def _shrink_norm(norm: nn.Module, keep: BoolArray) -> None:
    if not isinstance(norm, NORM_TYPES):
        raise TypeError(f"expected a batch norm, got {type(norm).__name__}")
    norm.weight, norm.bias = _cut(norm.weight, keep), _cut(norm.bias, keep)
    for name in ("running_mean", "running_var"):
        statistic = getattr(norm, name)
        if statistic is not None:
            setattr(norm, name, statistic[_index(keep, statistic)].clone())
    norm.num_features = int(keep.sum())


def _rewrite_constants(module: fx.GraphModule, node: fx.Node, kept: Kept) -> None:
    """Channel counts that the graph holds as numbers: padding of channels, orders, sizes of views and splits."""
    if node.target in SPLITS:
        _rewrite_split(node, kept)
    units = kept.coupling.values.get(node.name)
    if units is None:
        return
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        if isinstance(layer, ChannelPad):
            layer.before, layer.after = _padding_left(kept, units, layer.before, layer.after)
        elif isinstance(layer, ChannelPermutation):
            layer.order = _order_left(layer.order, kept.units[units])
    elif node.target in PADS:
        padding = channel_padding(node)
        if padding is not None and padding != (0, 0):
            widths: list[Any] = list(node.args[1] if len(node.args) > 1 else node.kwargs["pad"])  # type: ignore[arg-type]
            widths[4:6] = _padding_left(kept, units, *padding)
            if len(node.args) > 1:
                node.update_arg(1, tuple(widths))
            else:
                node.update_kwarg("pad", tuple(widths))
    elif node.target in RESHAPES or node.target in EXPANSIONS:
        _rewrite_sizes(node, kept.coupling.axes[node.name], int(kept.units[units].sum()))


def _rewrite_split(node: fx.Node, kept: Kept) -> None:
    """Sizes of the parts, of which capture has made numbers."""
    units = kept.coupling.values.get(str(node.args[0]))
    if units is not None and isinstance(node.args[1], list | tuple):
        ends = np.cumsum([int(size) for size in node.args[1]])[:-1]  # type: ignore[arg-type]
        node.update_arg(1, [int(part.sum()) for part in np.split(kept.units[units], ends)])


def _order_left(order: Tensor, stay: BoolArray) -> Tensor:
    """The permutation among the channels that stay; `stay` is of its result."""
    left = order[torch.from_numpy(stay).to(order.device)]
    return left.argsort().argsort()


def _padding_left(kept: Kept, units: npt.NDArray[np.int32], before: int, after: int) -> tuple[int, int]:
    stay = kept.units[units]
    return int(stay[:before].sum()), int(stay[len(stay) - after :].sum())


def _rewrite_sizes(node: fx.Node, axis: int, channels: int) -> None:
    sizes: Any = node.args[1:]
    as_tuple = len(sizes) == 1 and isinstance(sizes[0], tuple | list)
    sizes = list(sizes[0] if as_tuple else sizes)
    if len(sizes) > axis and isinstance(sizes[axis], int) and sizes[axis] > 0:
        sizes[axis] = channels
        node.args = (node.args[0], tuple(sizes)) if as_tuple else (node.args[0], *sizes)


def _cut(parameter: Tensor, *keep: BoolArray) -> nn.Parameter:
    """Keep positions of the leading dimensions."""
    value = parameter
    for dimension, mask in enumerate(keep):
        value = value.index_select(dimension, _index(mask, parameter))
    return nn.Parameter(value.contiguous().clone(), requires_grad=parameter.requires_grad)


def _cut_bias(layer: nn.Conv2d | nn.Linear | ColumnConv2d, keep: BoolArray) -> None:
    if layer.bias is not None:
        layer.bias = _cut(layer.bias, keep)


def _index(mask: BoolArray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.flatnonzero(mask)).to(like.device)
