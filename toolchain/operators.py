"""What each operator does to a zero channel, and to the order of channels: the table that coupling reads.

An operator may stand between a pruned filter and its consumers when it leaves channels in place and f(0) = 0. One that
leaves channels in place but moves zero (a sigmoid) may stand in a gate, whose value multiplies the same channels. An
operator that is in no table here is unknown: it freezes what it reads.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

__all__ = [
    "ADDITIONS",
    "CHUNKS",
    "CONCATENATIONS",
    "EXPANSIONS",
    "FLATTENINGS",
    "MEANS",
    "PADS",
    "PERMUTATIONS",
    "POOL_FUNCTIONS",
    "POOL_MODULES",
    "PRODUCTS",
    "RESHAPES",
    "SPLITS",
    "SQUEEZES",
    "TRANSPOSITIONS",
    "is_stochastic_depth",
    "keeps_place",
    "keeps_zero",
]

POOL_MODULES: tuple[type[nn.Module], ...] = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)
POOL_FUNCTIONS: frozenset[Any] = frozenset(
    {
        F.max_pool2d,
        F.avg_pool2d,
        F.adaptive_avg_pool2d,
        F.adaptive_max_pool2d,
        torch.max_pool2d,
        torch.adaptive_avg_pool1d,
    }
)

_ZERO_MODULES: tuple[type[nn.Module], ...] = (
    *POOL_MODULES,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Tanh,
    nn.Softsign,
    nn.Hardshrink,
    nn.Softshrink,
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.ZeroPad2d,
    nn.ReflectionPad2d,
    nn.ReplicationPad2d,
    nn.Upsample,
)
_ZERO_FUNCTIONS: frozenset[Any] = POOL_FUNCTIONS | {
    F.relu,
    F.relu6,
    F.leaky_relu,
    F.elu,
    F.celu,
    F.selu,
    F.gelu,
    F.silu,
    F.mish,
    F.hardswish,
    F.tanh,
    F.softsign,
    F.interpolate,
    torch.relu,
    torch.tanh,
    torch.abs,
    torch.neg,
    torch.clone,
    operator.neg,
}
_MOVED_ZERO_MODULES: tuple[type[nn.Module], ...] = (
    nn.Sigmoid,
    nn.Hardsigmoid,
    nn.LogSigmoid,
    nn.Softplus,
    nn.Hardtanh,
)
_MOVED_ZERO_FUNCTIONS: frozenset[Any] = frozenset(
    {torch.sigmoid, F.sigmoid, F.hardsigmoid, F.logsigmoid, F.softplus, torch.exp, F.hardtanh, torch.clamp}
)
_MOVED_ZERO_METHODS = frozenset({"sigmoid", "sigmoid_", "exp", "clamp", "clamp_"})
_ZERO_METHODS = frozenset({"relu", "relu_", "tanh", "abs", "neg", "contiguous", "clone", "detach", "float"})
_CLAMPS: frozenset[Any] = frozenset({F.hardtanh, torch.clamp, "clamp", "clamp_"})
PRODUCTS: frozenset[Any] = frozenset(
    {operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_", "multiply"}
)
_QUOTIENTS: frozenset[Any] = frozenset({operator.truediv, operator.itruediv, torch.div, "div", "div_"})

ADDITIONS: frozenset[Any] = frozenset(
    {operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub, "add", "add_", "sub", "sub_"}
)
CONCATENATIONS: frozenset[Any] = frozenset({torch.cat, torch.concat, torch.concatenate})
FLATTENINGS: frozenset[Any] = frozenset({torch.flatten, "flatten"})
RESHAPES: frozenset[Any] = frozenset({torch.reshape, "view", "reshape"})
MEANS: frozenset[Any] = frozenset({torch.mean, "mean", torch.amax, "amax", torch.sum, "sum"})
CHUNKS: frozenset[Any] = frozenset({torch.chunk, "chunk"})
SPLITS: frozenset[Any] = frozenset({torch.split, "split"})
PERMUTATIONS: frozenset[Any] = frozenset({torch.permute, "permute"})
TRANSPOSITIONS: frozenset[Any] = frozenset({torch.transpose, torch.swapaxes, "transpose", "swapaxes"})
EXPANSIONS: frozenset[Any] = frozenset({"expand", "expand_as"})
SQUEEZES: frozenset[Any] = frozenset({torch.squeeze, "squeeze", torch.unsqueeze, "unsqueeze"})
PADS: frozenset[Any] = frozenset({F.pad, torch.nn.functional.pad})


def keeps_zero(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether a one-input operator leaves every channel in place and maps zero to zero.

    Args:
        node: The operator.
        module: The module it calls, if it calls one.
    """
    if module is not None:
        return _module_keeps_zero(module)
    target: Any = node.target
    if target in _CLAMPS:
        return _limits_hold_zero(node)
    if target in PRODUCTS or target in _QUOTIENTS:
        return _is_scaled(node)
    if target is operator.getitem:
        return _is_spatial_slice(node)
    return target in (_ZERO_FUNCTIONS if node.op == "call_function" else _ZERO_METHODS)


def keeps_place(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether a one-input operator leaves every channel in place, but maps zero to another finite number.

    Args:
        node: The operator, of which `keeps_zero` is false.
        module: The module it calls, if it calls one.
    """
    if module is not None:
        return isinstance(module, _MOVED_ZERO_MODULES)
    target: Any = node.target
    if target in ADDITIONS:
        return sum(isinstance(operand, int | float) for operand in node.args[:2]) == 1
    return target in (_MOVED_ZERO_FUNCTIONS if node.op == "call_function" else _MOVED_ZERO_METHODS)


def _module_keeps_zero(module: nn.Module) -> bool:
    if isinstance(module, nn.Hardtanh):
        return bool(module.min_val <= 0 <= module.max_val)
    if isinstance(module, nn.PReLU):
        return module.num_parameters == 1  # otherwise each channel has a slope of its own, which would have to go
    return isinstance(module, _ZERO_MODULES) or is_stochastic_depth(module)


def is_stochastic_depth(module: nn.Module) -> bool:
    """Whether a module is torchvision's StochasticDepth; asked by name, for importing torchvision takes seconds."""
    return f"{type(module).__module__}.{type(module).__name__}" == "torchvision.ops.stochastic_depth.StochasticDepth"


def _limits_hold_zero(node: fx.Node) -> bool:
    default = (-1.0, 1.0) if node.target is F.hardtanh else (None, None)
    names = ("min_val", "max_val") if node.target is F.hardtanh else ("min", "max")
    low, high = (
        node.args[i + 1] if len(node.args) > i + 1 else node.kwargs.get(name, default[i])
        for i, name in enumerate(names)
    )
    return (low is None or (isinstance(low, int | float) and low <= 0)) and (
        high is None or (isinstance(high, int | float) and high >= 0)
    )


def _is_scaled(node: fx.Node) -> bool:
    """A value times or divided by a number; a number divided by a value does not map zero to zero."""
    first, second = (*node.args, *node.kwargs.values())[:2]
    numbers = isinstance(second, int | float) and isinstance(first, fx.Node)
    reversed_product = isinstance(first, int | float) and isinstance(second, fx.Node)
    is_division = "div" in str(getattr(node.target, "__name__", node.target))
    return numbers or (reversed_product and not is_division)


def _is_spatial_slice(node: fx.Node) -> bool:
    """Slices such as ``x[:, :, ::2, ::2]``, which leave batch and channels alone."""
    index: Any = node.args[1]
    if not isinstance(index, tuple) or not all(isinstance(part, slice) or part is Ellipsis for part in index):
        return False
    return len(index) >= 2 and index[0] == slice(None) and index[1] == slice(None)


def argument(node: fx.Node, position: int, name: str, default: object = None) -> Any:  # noqa: ANN401 - any fx argument
    """A node's argument by position or name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


Target = Callable[..., Any] | str
