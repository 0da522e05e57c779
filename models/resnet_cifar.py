"""ResNet-20/32/44/56 for CIFAR, with option-A shortcuts: no parameters, every second pixel, zero-padded channels.

Three stages of 16, 32 and 64 channels, ``(depth - 2) / 6`` blocks each, for images of about 32×32. State-dict keys
are those of the widely used implementation akamaster/pytorch_resnet_cifar10, so its published weights load.

Source: He et al., arXiv:1512.03385, section 4.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import ChannelPad
from .registry import register_model


class CifarBasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut without parameters."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        added = channels - in_channels
        self.shortcut = ChannelPad(added // 2, added - added // 2) if added else None
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in_channels, h, w)`` to ``(n, channels, ceil(h / stride), ceil(w / stride))``."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]
        if self.shortcut is not None:
            shortcut = self.shortcut(shortcut)
        out: Tensor = self.relu2(y + shortcut)
        return out


class CifarResNet(nn.Module):
    """The network: stem, three stages, global average, linear layer.

    Args:
        depth: ``6 n + 2``.
        in_channels: Channels of the images.
        num_classes: Outputs.
    """

    def __init__(self, depth: int, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu1 = nn.ReLU()
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, in_channels, h, w)`` to logits ``(n, num_classes)``."""
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(torch.flatten(self.avgpool(x), 1))
        return logits


def _stage(in_channels: int, channels: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = CifarBasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(CifarBasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


@register_model
def resnet20(*, in_channels: int = 3, num_classes: int = 10) -> CifarResNet:
    """ResNet-20 for CIFAR: 0.27 M parameters, 41 M MACs at 32×32."""
    return CifarResNet(20, in_channels=in_channels, num_classes=num_classes)


@register_model
def resnet32(*, in_channels: int = 3, num_classes: int = 10) -> CifarResNet:
    """ResNet-32 for CIFAR: 0.46 M parameters, 69 M MACs at 32×32."""
    return CifarResNet(32, in_channels=in_channels, num_classes=num_classes)


@register_model
def resnet44(*, in_channels: int = 3, num_classes: int = 10) -> CifarResNet:
    """ResNet-44 for CIFAR: 0.66 M parameters, 97 M MACs at 32×32."""
    return CifarResNet(44, in_channels=in_channels, num_classes=num_classes)


@register_model
def resnet56(*, in_channels: int = 3, num_classes: int = 10) -> CifarResNet:
    """ResNet-56 for CIFAR: 0.85 M parameters, 126 M MACs at 32×32."""
    return CifarResNet(56, in_channels=in_channels, num_classes=num_classes)
