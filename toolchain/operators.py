"""What each operator does to a zero channel, and to the order of channels: the table that coupling reads.

An operator may stand between a pruned filter and its consumers only when it leaves channels in place and f(0) = 0. An
operator that is in no table here is unknown: it freezes what it reads.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

__all__ = ["ADDITIONS", "CONCATENATIONS", "FLATTENINGS", "MEANS", "PADS", "POOL_MODULES", "RESHAPES", "keeps_zero"]

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
_ZERO_METHODS = frozenset({"relu", "relu_", "tanh", "abs", "neg", "contiguous", "clone", "detach", "float"})
_CLAMPS: frozenset[Any] = frozenset({F.hardtanh, torch.clamp, "clamp", "clamp_"})
_SCALINGS: frozenset[Any] = frozenset(
    {
        operator.mul,
        operator.imul,
        operator.truediv,
        operator.itruediv,
        torch.mul,
        torch.div,
        "mul",
        "mul_",
        "div",
        "div_",
    }
)

ADDITIONS: frozenset[Any] = frozenset(
    {operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub, "add", "add_", "sub", "sub_"}
)
CONCATENATIONS: frozenset[Any] = frozenset({torch.cat, torch.concat, torch.concatenate})
FLATTENINGS: frozenset[Any] = frozenset({torch.flatten, "flatten"})
RESHAPES: frozenset[Any] = frozenset({torch.reshape, "view", "reshape"})
MEANS: frozenset[Any] = frozenset({torch.mean, "mean", torch.amax, "amax", torch.sum, "sum"})
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
    if target in _SCALINGS:
        return _is_scaled(node)
    if target is operator.getitem:
        return _is_spatial_slice(node)
    return target in (_ZERO_FUNCTIONS if node.op == "call_function" else _ZERO_METHODS)


def _module_keeps_zero(module: nn.Module) -> bool:
    if isinstance(module, nn.Hardtanh):
        return bool(module.min_val <= 0 <= module.max_val)
    return isinstance(module, _ZERO_MODULES)


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
