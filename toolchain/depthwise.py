"""Depthwise convolutions, also with one channel left, where ``groups = 1`` would read as an ordinary convolution."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["SingleChannelDepthwise", "is_depthwise"]


class SingleChannelDepthwise(nn.Conv2d):
    """A depthwise convolution that pruning left with one input channel.

    Its filters still belong to that channel: they are removed with it or not at all. Compaction makes it, so that a
    later round couples the layer as the first one did.
    """

    @classmethod
    def from_conv(cls, conv: nn.Conv2d) -> SingleChannelDepthwise:
        """Take over the parameters and settings of a convolution with one input channel."""
        with torch.device("meta"):
            layer = cls(
                1,
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


def is_depthwise(module: nn.Module) -> bool:
    """Whether a convolution has one filter group per input channel."""
    if isinstance(module, SingleChannelDepthwise):
        return True
    return isinstance(module, nn.Conv2d) and module.groups > 1 and module.groups == module.in_channels
