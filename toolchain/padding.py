"""What padding adds: zero channels around a value, or zero pixels around a convolution's input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import fx, nn

from ..models.layers import ColumnConv2d
from .operators import argument

__all__ = ["channel_padding", "symmetric_padding"]


def channel_padding(node: fx.Node) -> tuple[int, int] | None:
    """Zero channels that ``F.pad`` puts before and after, ``(0, 0)`` for a spatial pad; None if it is no such pad."""
    widths: Any = argument(node, 1, "pad")
    mode, value = argument(node, 2, "mode", "constant"), argument(node, 3, "value")
    if not isinstance(widths, Iterable) or not all(isinstance(width, int) for width in widths):
        return None
    widths = [*widths, 0, 0, 0, 0, 0, 0]
    if (mode == "constant" and value not in (None, 0)) or any(widths[6:]) or min(widths[4:6]) < 0:
        return None
    return widths[4], widths[5]


def symmetric_padding(module: nn.Conv2d | ColumnConv2d) -> tuple[int, int] | None:
    """Zero padding of a convolution as ``(py, px)``; None if it pads otherwise or differently on both sides."""
    if isinstance(module, nn.Conv2d) and (module.padding_mode != "zeros" or isinstance(module.padding, str)):
        if module.padding == "valid":
            return 0, 0
        spans = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        even = module.padding_mode == "zeros" and module.padding == "same" and not any(span % 2 for span in spans)
        return (spans[0] // 2, spans[1] // 2) if even else None
    padding = module.padding
    return int(padding[0]), int(padding[1])
