"""One rule per operator: how it is written in ONNX.

A rule emits the ONNX nodes of one graph node and returns the name of its result; it raises ``NoRuleError`` for a form
that it cannot express exactly.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from onnx import helper
from torch import fx, nn
from torch.nn import functional as F

from ..models.layers import ChannelPad, ChannelPermutation, ColumnConv2d
from . import onnx_shape_rules
from .capture import operator_name
from .grouped import SingleGroupConv2d
from .onnx_adaptive_pool import adaptive_average
from .onnx_graph import GraphWriter, NoRuleError
from .operators import (
    ADDITIONS,
    CONCATENATIONS,
    EXPANSIONS,
    FLATTENINGS,
    PADS,
    PERMUTATIONS,
    PRODUCTS,
    RESHAPES,
    SQUEEZES,
    TRANSPOSITIONS,
    argument,
    is_stochastic_depth,
)

__all__ = ["find_rule"]

Rule: TypeAlias = Callable[[GraphWriter, fx.Node], str]


def find_rule(w: GraphWriter, node: fx.Node) -> Rule:
    """The rule for a node.

    Raises:
        NoRuleError: If there is none.
    """
    if node.op == "call_module":
        module = w.module_of(node)
        rule = _same if is_stochastic_depth(module) else _MODULE_RULES.get(type(module))
    else:
        rule = next((rule for targets, rule in _FUNCTION_RULES if node.target in targets), None)
    if rule is None or node.op == "get_attr":
        raise NoRuleError(f"operator {operator_name(node)!r} (node {node.name!r})")
    return rule


def _conv(w: GraphWriter, node: fx.Node) -> str:
    module: Any = w.module_of(node)
    if isinstance(module, nn.Conv2d) and module.padding_mode != "zeros":
        raise NoRuleError(f"padding mode {module.padding_mode!r} of {node.target!r}")
    weight = module.dense_weight() if isinstance(module, ColumnConv2d) else module.weight
    inputs = [w.value(node), w.constant(f"{node.target}.weight", weight)]
    if module.bias is not None:
        inputs.append(w.constant(f"{node.target}.bias", module.bias))
    return w.emit(
        node,
        "Conv",
        inputs,
        kernel_shape=list(module.kernel_size),
        strides=list(module.stride),
        dilations=list(module.dilation),
        pads=_conv_pads(module),
        group=module.groups,
    )


def _conv_pads(module: nn.Conv2d | ColumnConv2d) -> list[int]:
    if not isinstance(module.padding, str):
        return [*module.padding, *module.padding]
    spans = [
        d * (k - 1) if module.padding == "same" else 0 for d, k in zip(module.dilation, module.kernel_size, strict=True)
    ]
    return [*(span // 2 for span in spans), *(span - span // 2 for span in spans)]


def _linear(w: GraphWriter, node: fx.Node) -> str:
    module: Any = w.module_of(node)
    if len(w.shape(node)) != 2:
        return _linear_on_tokens(w, node, module)
    inputs = [w.value(node), w.constant(f"{node.target}.weight", module.weight)]
    if module.bias is not None:
        inputs.append(w.constant(f"{node.target}.bias", module.bias))
    return w.emit(node, "Gemm", inputs, transB=1)


def _linear_on_tokens(w: GraphWriter, node: fx.Node, module: nn.Linear) -> str:
    matrix = w.constant(f"{node.target}.weight", module.weight.t())
    if module.bias is None:
        return w.emit(node, "MatMul", [w.value(node), matrix])
    product = f"/{node.name}/product"
    w.nodes.append(helper.make_node("MatMul", [w.value(node), matrix], [product], name=f"{node.name}_product"))
    return w.emit(node, "Add", [product, w.constant(f"{node.target}.bias", module.bias)])


def _batch_norm(w: GraphWriter, node: fx.Node) -> str:
    module: Any = w.module_of(node)
    mean, variance = module.running_mean, module.running_var
    if mean is None:
        raise NoRuleError(f"batch norm {node.target!r} without running statistics")
    scale = torch.ones_like(mean) if module.weight is None else module.weight
    bias = torch.zeros_like(mean) if module.bias is None else module.bias
    parts = {"weight": scale, "bias": bias, "running_mean": mean, "running_var": variance}
    inputs = [w.constant(f"{node.target}.{name}", value) for name, value in parts.items()]
    return w.emit(node, "BatchNormalization", [w.value(node), *inputs], epsilon=module.eps)


def _same(w: GraphWriter, node: fx.Node) -> str:
    return w.value(node)


def _unary(kind: str) -> Rule:
    return lambda w, node: w.emit(node, kind, [w.value(node)])


def _clip(low: float, high: float) -> Rule:
    def rule(w: GraphWriter, node: fx.Node) -> str:
        limits = [w.constant(f"limit.{value:g}", np.array(value, dtype=np.float32)) for value in (low, high)]
        return w.emit(node, "Clip", [w.value(node), *limits])

    return rule


def _hard_sigmoid(w: GraphWriter, node: fx.Node) -> str:
    return w.emit(node, "HardSigmoid", [w.value(node)], alpha=1 / 6, beta=0.5)


def _leaky_relu(w: GraphWriter, node: fx.Node) -> str:
    slope = _setting(w, node, 1, "negative_slope", 0.01)
    return w.emit(node, "LeakyRelu", [w.value(node)], alpha=float(slope))


def _silu(w: GraphWriter, node: fx.Node) -> str:
    gate = f"/{node.name}/gate"
    w.nodes.append(helper.make_node("Sigmoid", [w.value(node)], [gate], name=f"{node.name}_gate"))
    return w.emit(node, "Mul", [w.value(node), gate])


def _pool(kind: str) -> Rule:
    def rule(w: GraphWriter, node: fx.Node) -> str:
        before, after = w.source_shape(node), w.shape(node)
        kernel = _setting(w, node, 1, "kernel_size", None)
        if len(before) != 4 or _setting(w, node, 99, "return_indices", False):
            raise NoRuleError(f"this form of pool {node.name!r}")
        if isinstance(kernel, fx.Node) or (isinstance(kernel, tuple) and any(isinstance(k, fx.Node) for k in kernel)):
            return _whole_image(w, node, kind)  # the kernel is a size of the image, which covers it
        kernel = _pair(kernel)
        stride = _setting(w, node, 2, "stride", None)
        padding = _pair(_setting(w, node, 3, "padding", 0))
        attributes: dict[str, Any] = {
            "kernel_shape": kernel,
            "strides": _pair(stride) if stride not in (None, [], ()) else kernel,
            "pads": [*padding, *padding],
        }
        if kind == "MaxPool":
            attributes["dilations"] = _pair(_setting(w, node, 4, "dilation", 1))
            attributes["ceil_mode"] = int(_setting(w, node, 5, "ceil_mode", False))
        else:
            if _setting(w, node, 4, "ceil_mode", False) or _setting(w, node, 6, "divisor_override", None):
                raise NoRuleError(f"average pool {node.name!r} with ceil_mode or divisor_override")
            attributes["count_include_pad"] = int(_setting(w, node, 5, "count_include_pad", True))
        if kernel == list(before[2:]) and after[2:] == (1, 1) and not any(padding):
            return _whole_image(w, node, kind)
        return w.emit(node, kind, [w.value(node)], **attributes)

    return rule


def _adaptive_pool(kind: str) -> Rule:
    def rule(w: GraphWriter, node: fx.Node) -> str:
        before, after = w.source_shape(node), w.shape(node)
        if after[2:] == (1, 1):
            return _whole_image(w, node, kind)
        if before[2] % after[2] or before[3] % after[3]:
            if kind == "AveragePool":
                return adaptive_average(w, node)
            raise NoRuleError(f"adaptive pool {node.name!r} from {before[2:]} to {after[2:]}, whose windows differ")
        window = [before[2] // after[2], before[3] // after[3]]
        return w.emit(node, kind, [w.value(node)], kernel_shape=window, strides=window)

    return rule


def _whole_image(w: GraphWriter, node: fx.Node, kind: str) -> str:
    if w.shape(node)[2:] != (1, 1):
        raise NoRuleError(f"pool {node.name!r} with a computed kernel")
    return w.emit(node, "GlobalMaxPool" if kind == "MaxPool" else "GlobalAveragePool", [w.value(node)])


def _mean(w: GraphWriter, node: fx.Node) -> str:
    dimensions = argument(node, 1, "dim")
    dimensions = [dimensions] if isinstance(dimensions, int) else dimensions
    if not dimensions or node.kwargs.get("dtype") is not None:
        raise NoRuleError(f"mean {node.name!r} over everything")
    rank = len(w.source_shape(node))
    axes = w.constant(f"/{node.name}/axes", np.array([d % rank for d in dimensions], dtype=np.int64))
    return w.emit(node, "ReduceMean", [w.value(node), axes], keepdims=int(bool(argument(node, 2, "keepdim", False))))


def _arithmetic(kind: str) -> Rule:
    def rule(w: GraphWriter, node: fx.Node) -> str:
        if node.kwargs:
            raise NoRuleError(f"{kind} {node.name!r} with {', '.join(node.kwargs)}")
        inputs = []
        for operand in node.args[:2]:
            if isinstance(operand, int | float):
                inputs.append(w.constant(f"number.{operand!r}", np.array(operand, dtype=np.float32)))
            elif isinstance(operand, fx.Node) and operand in w.names:
                inputs.append(w.names[operand])
            else:
                raise NoRuleError(f"{kind} {node.name!r} with a computed number")
        return w.emit(node, kind, inputs)

    return rule


def _softmax(kind: str) -> Rule:
    def rule(w: GraphWriter, node: fx.Node) -> str:
        axis = _setting(w, node, 1, "dim", None)
        if not isinstance(axis, int):
            raise NoRuleError(f"softmax {node.name!r} without a dimension")
        return w.emit(node, kind, [w.value(node)], axis=axis)

    return rule


def _setting(w: GraphWriter, node: fx.Node, position: int, name: str, default: object) -> Any:  # noqa: ANN401
    if node.op == "call_module":
        return getattr(w.module_of(node), name, default)
    return argument(node, position, name, default)


def _pair(value: Any) -> list[int]:  # noqa: ANN401 - an int or a pair of them
    return [value, value] if isinstance(value, int) else [int(part) for part in value]


_MODULE_RULES: Mapping[type[nn.Module], Rule] = {
    nn.Conv2d: _conv,
    ColumnConv2d: _conv,
    SingleGroupConv2d: _conv,
    nn.Linear: _linear,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm1d: _batch_norm,
    ChannelPad: onnx_shape_rules.pad,
    ChannelPermutation: onnx_shape_rules.permuted_channels,
    nn.ZeroPad2d: onnx_shape_rules.pad,
    nn.ReLU: _unary("Relu"),
    nn.Sigmoid: _unary("Sigmoid"),
    nn.Tanh: _unary("Tanh"),
    nn.Hardswish: _unary("HardSwish"),
    nn.Hardsigmoid: _hard_sigmoid,
    nn.ReLU6: _clip(0.0, 6.0),
    nn.LeakyReLU: _leaky_relu,
    nn.SiLU: _silu,
    nn.Softmax: _softmax("Softmax"),
    nn.LogSoftmax: _softmax("LogSoftmax"),
    nn.MaxPool2d: _pool("MaxPool"),
    nn.AvgPool2d: _pool("AveragePool"),
    nn.AdaptiveAvgPool2d: _adaptive_pool("AveragePool"),
    nn.AdaptiveMaxPool2d: _adaptive_pool("MaxPool"),
    nn.Flatten: onnx_shape_rules.reshape,
    nn.Identity: _same,
    nn.Dropout: _same,
    nn.Dropout1d: _same,
    nn.Dropout2d: _same,
}
_FUNCTION_RULES: Sequence[tuple[frozenset[Any], Rule]] = (
    (frozenset({F.relu, torch.relu, "relu", "relu_"}), _unary("Relu")),
    (frozenset({torch.sigmoid, F.sigmoid, "sigmoid"}), _unary("Sigmoid")),
    (frozenset({torch.tanh, F.tanh, "tanh"}), _unary("Tanh")),
    (frozenset({F.hardswish}), _unary("HardSwish")),
    (frozenset({F.hardsigmoid}), _hard_sigmoid),
    (frozenset({F.relu6}), _clip(0.0, 6.0)),
    (frozenset({F.leaky_relu}), _leaky_relu),
    (frozenset({F.silu}), _silu),
    (frozenset({F.softmax, torch.softmax, "softmax"}), _softmax("Softmax")),
    (frozenset({F.log_softmax, torch.log_softmax, "log_softmax"}), _softmax("LogSoftmax")),
    (frozenset({F.max_pool2d, torch.max_pool2d}), _pool("MaxPool")),
    (frozenset({F.avg_pool2d}), _pool("AveragePool")),
    (frozenset({F.adaptive_avg_pool2d}), _adaptive_pool("AveragePool")),
    (frozenset({F.adaptive_max_pool2d}), _adaptive_pool("MaxPool")),
    (frozenset({torch.mean, "mean"}), _mean),
    (ADDITIONS - {operator.sub, operator.isub, torch.sub, "sub", "sub_"}, _arithmetic("Add")),
    (frozenset({operator.sub, operator.isub, torch.sub, "sub", "sub_"}), _arithmetic("Sub")),
    (PRODUCTS, _arithmetic("Mul")),
    (frozenset({operator.truediv, operator.itruediv, torch.div, "div", "div_"}), _arithmetic("Div")),
    (FLATTENINGS | RESHAPES | SQUEEZES, onnx_shape_rules.reshape),
    (PERMUTATIONS | TRANSPOSITIONS, onnx_shape_rules.transposed),
    (EXPANSIONS, onnx_shape_rules.expand),
    (PADS, onnx_shape_rules.pad),
    (frozenset({operator.getitem}), onnx_shape_rules.item),
    (CONCATENATIONS, onnx_shape_rules.concat),
    (frozenset({"contiguous", "clone", "detach", "float", torch.clone}), _same),
)
