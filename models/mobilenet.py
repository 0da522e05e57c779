"""MobileNetV2; architecture and state-dict keys of torchvision.

Inverted residuals: a 1×1 convolution widens, a depthwise 3×3 filters, a 1×1 narrows without activation. The ``cifar``
stem, for small images, has stride 1 instead of 2 in the first convolution and in the 24-channel stage.

Source: Sandler et al., arXiv:1801.04381, table 2.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .registry import register_model

Stem = Literal["cifar", "imagenet"]
# widening, channels, blocks, stride of the first block
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Widen, filter by depth, narrow; with a shortcut where the shapes agree."""

    def __init__(self, in_channels: int, channels: int, *, stride: int, widening: int) -> None:
        super().__init__()
        hidden = in_channels * widening
        self.use_res_connect = stride == 1 and in_channels == channels
        widen = [_conv_bn_relu(in_channels, hidden, 1)] if widening != 1 else []
        self.conv = nn.Sequential(
            *widen,
            _conv_bn_relu(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in_channels, h, w)`` to ``(n, channels, h / stride, w / stride)``."""
        y: Tensor = self.conv(x)
        return x + y if self.use_res_connect else y


class MobileNetV2(nn.Module):
    """The network: stem, seven stages of inverted residuals, 1×1 head, global average, linear layer.

    Args:
        stem: ``"cifar"`` or ``"imagenet"``.
        in_channels: Channels of the images.
        num_classes: Outputs.
        dropout: Share dropped before the linear layer.
    """

    def __init__(self, *, stem: Stem, in_channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        small = stem == "cifar"
        layers: list[nn.Module] = [_conv_bn_relu(in_channels, 32, 3, stride=1 if small else 2)]
        width = 32
        for widening, channels, blocks, stride in _STAGES:
            for number in range(blocks):
                first_stride = 1 if small and channels == 24 else stride
                block_stride = first_stride if number == 0 else 1
                layers.append(InvertedResidual(width, channels, stride=block_stride, widening=widening))
                width = channels
        layers.append(_conv_bn_relu(width, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, num_classes))
        for module in self.modules():
            _initialise(module)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, in_channels, h, w)`` to logits ``(n, num_classes)``."""
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return logits


def _conv_bn_relu(in_channels: int, channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, kernel, stride=stride, padding=(kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU6())


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


@register_model
def mobilenet_v2(
    *, stem: Stem = "imagenet", in_channels: int = 3, num_classes: int = 1000, dropout: float = 0.2
) -> MobileNetV2:
    """MobileNetV2: 3.5 M parameters, 0.3 G MACs at 224×224."""
    return MobileNetV2(stem=stem, in_channels=in_channels, num_classes=num_classes, dropout=dropout)
