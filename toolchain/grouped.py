"""Grouped convolutions, also with one group left, where ``groups = 1`` would read as an ordinary convolution.

A group of a convolution (a single channel, where it is depthwise) is pruned as a whole: its input channels and its
filters are one unit.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["SingleGroupConv2d", "conv_groups"]


class SingleGroupConv2d(nn.Conv2d):
    """A grouped convolution that pruning left with one group.

    Its filters still belong to that group's channels: they are removed with them or not at all. Compaction makes it,
    so that a later round couples the layer as the first one did.
    """

    @classmethod
    def from_conv(cls, conv: nn.Conv2d) -> SingleGroupConv2d:
        """Take over the parameters and settings of a convolution with one group."""
        with torch.device("meta"):
            layer = cls(
                conv.in_channels,
                conv.out_channels,
                (conv.kernel_size[0], conv.kernel_size[1]),
                stride=(conv.stride[0], conv.stride[1]),
                padding=conv.padding if isinstance(conv.padding, str) else (conv.padding[0], conv.padding[1]),
                dilation=(conv.dilation[0], conv.dilation[1]),
                bias=False,
                padding_mode=conv.padding_mode,
            )
        layer.weight = conv.weight
        layer.register_parameter("bias", conv.bias if isinstance(conv.bias, nn.Parameter) else None)
        return layer.train(conv.training)


def conv_groups(module: nn.Module) -> int | None:
    """Groups of a grouped convolution, 1 where pruning left one; None for any other layer."""
    if isinstance(module, SingleGroupConv2d):
        return 1
    return module.groups if isinstance(module, nn.Conv2d) and module.groups > 1 else None
