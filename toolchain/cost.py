"""What a network costs under a plan: params, MACs and the layers that a latency model prices. Nothing is built.

params: all weights and biases after batch-norm folding; column indices are counted apart. MACs: convolutions and linear
layers, one image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import fx, nn

from ..compiler.column_blocks import count_blocks
from ..compiler.layer_shape import BLOCK_CHANNELS, LayerKind, LayerShape
from ..models.layers import ColumnConv2d
from .capture import CapturedNetwork
from .coupling import Coupling, LayerInfo, find_coupling
from .folding import NORM_TYPES, foldable_norms
from .grouped import conv_groups
from .keep_indices import Kept, PruningPlan, resolve_plan
from .operators import ADDITIONS, MEANS, POOL_FUNCTIONS, POOL_MODULES, argument
from .padding import symmetric_padding

__all__ = ["CostTable", "ParamCount", "count_macs", "count_params", "layer_shapes"]

ShapeOf = Callable[[Kept], LayerShape]

# Kept columns per column of a block, below which packed columns are cheaper anyway.
LEAST_FILLED = 0.75


@dataclass(frozen=True, kw_only=True)
class ParamCount:
    """Numbers that a network must store, after batch-norm folding.

    Attributes:
        total: Weights and biases.
        conv: Weights of convolutions alone, the count of the AutoCompress paper.
        column_indices: Indices of kept columns, of layers that lost some; not in ``total``.
    """

    total: int
    conv: int
    column_indices: int


class CostTable:
    """Costs of one network under many plans; made once per network where many are priced.

    Args:
        network: Any captured network.
        coupling: Its coupling groups; found where not given.
    """

    def __init__(self, network: CapturedNetwork, coupling: Coupling | None = None) -> None:
        self.coupling = find_coupling(network) if coupling is None else coupling
        self._shapes: list[ShapeOf] = []
        self._biases = _biases_after_folding(network, self.coupling)
        self._loose_norms, self._other_params = _params_outside_layers(network, self.coupling)
        for node in network.module.graph.nodes:
            shape = _node_shape(node, network, self.coupling)
            if shape is not None:
                self._shapes.append(shape)

    def resolve(self, plan: PruningPlan | None) -> Kept:
        """What a plan keeps; None keeps everything."""
        return resolve_plan(self.coupling, plan or PruningPlan())

    def layer_shapes(self, plan: PruningPlan | None = None) -> list[LayerShape]:
        """Layers in execution order, with the counts that the plan leaves."""
        kept = self.resolve(plan)
        return [shape(kept) for shape in self._shapes]

    def count_params(self, plan: PruningPlan | None = None) -> ParamCount:
        """Params under a plan."""
        kept = self.resolve(plan)
        total, conv, indices = self._other_params, 0, 0
        for name, layer in self.coupling.layers.items():
            filters, columns = int(kept.filters(name).sum()), len(kept.columns(name))
            if layer.kind == "linear":
                columns = int(kept.inputs(name).sum())
            elif not kept.is_dense(name):
                indices += columns
            weights = filters * columns
            total += weights + (filters if name in self._biases else 0)
            conv += weights if layer.kind != "linear" else 0
        for norm in self._loose_norms:
            total += 2 * int(kept.units[self.coupling.norms[norm]].sum())
        return ParamCount(total=total, conv=conv, column_indices=indices)

    def count_macs(self, plan: PruningPlan | None = None) -> int:
        """Multiply-accumulates of one image under a plan."""
        return sum(layer.macs for layer in self.layer_shapes(plan))


def layer_shapes(
    network: CapturedNetwork, coupling: Coupling | None = None, plan: PruningPlan | None = None
) -> list[LayerShape]:
    """Layers of a network under a plan, in execution order, without building the compact network.

    Convolutions, depthwise convolutions, linear layers, pools (a mean over pixels, too) and additions of two values.

    Args:
        network: Any captured network.
        coupling: Its coupling groups; found where not given.
        plan: In this network's indices; None keeps everything.

    Raises:
        PlanError: If the plan does not fit the network.
    """
    return CostTable(network, coupling).layer_shapes(plan)


def count_params(
    network: CapturedNetwork, coupling: Coupling | None = None, plan: PruningPlan | None = None
) -> ParamCount:
    """Params of a network under a plan, after batch-norm folding."""
    return CostTable(network, coupling).count_params(plan)


def count_macs(network: CapturedNetwork, coupling: Coupling | None = None, plan: PruningPlan | None = None) -> int:
    """Multiply-accumulates of one image under a plan, convolutions and linear layers."""
    return CostTable(network, coupling).count_macs(plan)


def _node_shape(node: fx.Node, network: CapturedNetwork, coupling: Coupling) -> ShapeOf | None:
    if node.op not in ("call_module", "call_function", "call_method") or node.name not in network.shapes:
        return None
    if node.op == "call_module":
        module = network.module.get_submodule(str(node.target))
        if isinstance(module, nn.Conv2d | ColumnConv2d):
            return _conv_shape(node, module, network, coupling.layers.get(str(node.target)))
        if isinstance(module, nn.Linear):
            return _linear_shape(node, module, network, coupling.layers.get(str(node.target)))
        if isinstance(module, POOL_MODULES):
            return _pool_shape(node, network, coupling, module)
        return None
    if node.target in POOL_FUNCTIONS:
        return _pool_shape(node, network, coupling, None)
    if node.target in MEANS and len(_source_shape(node, network)) == 4:
        return _pool_shape(node, network, coupling, None)
    if node.target in ADDITIONS and sum(source.name in network.shapes for source in node.all_input_nodes) == 2:
        return _addition_shape(node, network, coupling)
    return None


def _conv_shape(
    node: fx.Node, module: nn.Conv2d | ColumnConv2d, network: CapturedNetwork, layer: LayerInfo | None
) -> ShapeOf:
    grouped = conv_groups(module) is not None
    depthwise = grouped and module.weight.shape[1] == 1
    kernel, padding = _pair(module.kernel_size), symmetric_padding(module) or (0, 0)
    stride, dilation = _pair(module.stride), _pair(module.dilation)
    input_hw, output_hw = _hw(_source_shape(node, network)), _hw(network.shapes[node.name])
    stored = module.columns.numel() if isinstance(module, ColumnConv2d) else module.weight[0].numel()

    def shape(kept: Kept) -> LayerShape:
        c_in, c_out, columns = module.in_channels, module.out_channels, stored
        if layer is not None:
            c_in, c_out = int(kept.inputs(layer.name).sum()), int(kept.filters(layer.name).sum())
            columns = len(kept.columns(layer.name))
        counts = _column_counts(kept, layer) if layer is not None and not grouped else {}
        return LayerShape(
            name=str(node.target),
            kind="depthwise" if depthwise else "conv",
            c_in=c_in,
            c_out=c_out,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=c_in // module.weight.shape[1] if grouped else 1,
            input_hw=input_hw,
            output_hw=output_hw,
            columns=columns,
            **counts,
        )

    return shape


def _column_counts(kept: Kept, layer: LayerInfo) -> dict[str, int]:
    """Channels that pruned columns read, and blocks that they fill well, numbered as in the compact network."""
    if kept.is_dense(layer.name):
        return {}
    inputs, columns = kept.inputs(layer.name), kept.columns(layer.name)
    channels = (np.cumsum(inputs) - 1)[columns // layer.kernel_area]
    read, present = int(np.unique(channels).size), int(inputs.sum())
    counts = {"read_channels": read} if read < present else {}
    blocks = count_blocks(channels, columns % layer.kernel_area, layer.kernel_area)
    # Blocks that are hardly filled are never chosen, and would make every candidate's layer a shape of its own.
    filled = present >= BLOCK_CHANNELS and len(columns) >= LEAST_FILLED * BLOCK_CHANNELS * blocks
    return counts | ({"blocks": blocks} if filled else {})


def _linear_shape(node: fx.Node, module: nn.Linear, network: CapturedNetwork, layer: LayerInfo | None) -> ShapeOf:
    # A linear layer on (N, positions, features) is applied at each position: a 1x1 convolution over a line of pixels.
    positions = int(np.prod(network.shapes[node.name][1:-1], dtype=np.int64))

    def shape(kept: Kept) -> LayerShape:
        c_in, c_out = module.in_features, module.out_features
        if layer is not None:
            c_in, c_out = int(kept.inputs(layer.name).sum()), int(kept.filters(layer.name).sum())
        kind: LayerKind = "linear" if positions == 1 else "conv"
        return _simple(str(node.target), kind, c_in, c_out, (1, positions), (1, positions), columns=c_in)

    return shape


def _pool_shape(
    node: fx.Node, network: CapturedNetwork, coupling: Coupling, module: nn.Module | None
) -> ShapeOf | None:
    before, after = _source_shape(node, network), network.shapes[node.name]
    if len(before) != 4 or before[1] != after[1]:
        return None
    input_hw, output_hw = _hw(before), _hw(after) if len(after) == 4 else (1, 1)
    settings = [_setting(node, module, i, name) for i, name in enumerate(("kernel_size", "stride", "padding"), start=1)]
    known = [_pair_or_none(value) for value in settings]
    # An adaptive pool, or a mean, has windows that cover the input once.
    window = (max(1, input_hw[0] // output_hw[0]), max(1, input_hw[1] // output_hw[1]))
    is_window = known[0] is not None and "daptive" not in str(getattr(node.target, "__name__", type(module).__name__))
    kernel = known[0] if is_window and known[0] is not None else window
    stride = (known[1] or kernel) if is_window else window
    padding = (known[2] or (0, 0)) if is_window else (0, 0)
    name = str(node.target) if module is not None else node.name

    def shape(kept: Kept) -> LayerShape:
        channels = _channel_count(kept, node.name, after)
        return LayerShape(
            name=name,
            kind="pool",
            c_in=channels,
            c_out=channels,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=(1, 1),
            groups=channels,
            input_hw=input_hw,
            output_hw=output_hw,
            columns=kernel[0] * kernel[1],
        )

    return shape


def _addition_shape(node: fx.Node, network: CapturedNetwork, coupling: Coupling) -> ShapeOf:
    after, axis = network.shapes[node.name], coupling.axes.get(node.name, 1)
    size = (1, int(np.prod(after[1:], dtype=np.int64)) // max(after[axis], 1)) if axis != 1 else _hw(after)

    def shape(kept: Kept) -> LayerShape:
        channels = _channel_count(kept, node.name, after)
        return _simple(node.name, "elementwise", channels, channels, size, size, columns=channels)

    return shape


def _simple(
    name: str,
    kind: LayerKind,
    c_in: int,
    c_out: int,
    input_hw: tuple[int, int],
    output_hw: tuple[int, int],
    *,
    columns: int,
) -> LayerShape:
    return LayerShape(
        name=name,
        kind=kind,
        c_in=c_in,
        c_out=c_out,
        kernel=(1, 1),
        stride=(1, 1),
        padding=(0, 0),
        dilation=(1, 1),
        groups=1,
        input_hw=input_hw,
        output_hw=output_hw,
        columns=columns,
    )


def _channel_count(kept: Kept, value: str, shape: tuple[int, ...]) -> int:
    """Channels of a value that stay; all of them where they are not known."""
    units = kept.coupling.values.get(value)
    return shape[1] if units is None else int(kept.units[units].sum())


def _biases_after_folding(network: CapturedNetwork, coupling: Coupling) -> set[str]:
    folded = {found.layer for found in foldable_norms(network)}
    own = {name for name in coupling.layers if network.module.get_submodule(name).bias is not None}
    return folded | own


def _params_outside_layers(network: CapturedNetwork, coupling: Coupling) -> tuple[list[str], int]:
    """Batch norms that cannot be folded, and the number of all params that no plan changes."""
    folded = {found.norm for found in foldable_norms(network)}
    loose = [name for name in coupling.norms if name not in folded]
    owners = {*coupling.layers, *coupling.norms, *folded}
    rest = 0
    for name, parameter in network.module.named_parameters():
        if name.rpartition(".")[0] not in owners:
            rest += parameter.numel()
    for name, module in network.module.named_modules():
        if isinstance(module, NORM_TYPES) and name not in folded and name not in coupling.norms:
            loose_affine = module.weight is not None
            rest += 0 if loose_affine else 2 * module.num_features
    return loose, rest


def _source_shape(node: fx.Node, network: CapturedNetwork) -> tuple[int, ...]:
    return next((network.shapes[s.name] for s in node.all_input_nodes if s.name in network.shapes), ())


def _setting(node: fx.Node, module: nn.Module | None, position: int, name: str) -> object:
    return getattr(module, name, None) if module is not None else argument(node, position, name)


def _pair_or_none(value: object) -> tuple[int, int] | None:
    if isinstance(value, int):
        return value, value
    if isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(part, int) for part in value):
        return value[0], value[1]
    return None


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    first, second = values
    return first, second


def _hw(shape: tuple[int, ...]) -> tuple[int, int]:
    return (shape[-2], shape[-1]) if len(shape) == 4 else (1, 1)
