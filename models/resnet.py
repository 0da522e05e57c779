"""ResNet-18/34/50 with projection shortcuts (option B); architecture and state-dict keys of torchvision.

The ``imagenet`` stem is a 7×7 stride-2 convolution and a max pool; the ``cifar`` stem, for small images, is a 3×3
stride-1 convolution without pool.

Source: He et al., arXiv:1512.03385; the stride of a bottleneck sits in its 3×3 convolution, as in torchvision.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .registry import register_model

Stem = Literal["cifar", "imagenet"]


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(in_channels, channels, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in_channels, h, w)`` to ``(n, channels, h / stride, w / stride)``."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu2(y + (x if self.downsample is None else self.downsample(x)))
        return out


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut; the output has four times ``channels``."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = _shortcut(in_channels, out_channels, stride)
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in_channels, h, w)`` to ``(n, 4 * channels, h / stride, w / stride)``."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu3(y + (x if self.downsample is None else self.downsample(x)))
        return out


class ResNet(nn.Module):
    """The network: stem, four stages, global average, linear layer.

    Args:
        block: Block type.
        blocks: Blocks of each stage.
        stem: ``"cifar"`` or ``"imagenet"``.
        in_channels: Channels of the images.
        num_classes: Outputs.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: tuple[int, int, int, int],
        *,
        stem: Stem,
        in_channels: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        small = stem == "cifar"
        kernel, stride, padding = (3, 1, 1) if small else (7, 2, 3)
        self.conv1 = nn.Conv2d(in_channels, 64, kernel, stride=stride, padding=padding, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu1 = nn.ReLU()
        self.maxpool = None if small else nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, 64, 64, blocks[0], stride=1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, blocks[1], stride=2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, blocks[2], stride=2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, blocks[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, in_channels, h, w)`` to logits ``(n, num_classes)``."""
        x = self.relu1(self.bn1(self.conv1(x)))
        if self.maxpool is not None:
            x = self.maxpool(x)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], in_channels: int, channels: int, blocks: int, *, stride: int
) -> nn.Sequential:
    first = block(in_channels, channels, stride)
    return nn.Sequential(first, *(block(channels * block.expansion, channels, 1) for _ in range(blocks - 1)))


@register_model
def resnet18(*, stem: Stem = "imagenet", in_channels: int = 3, num_classes: int = 1000) -> ResNet:
    """ResNet-18: 11.7 M parameters, 1.8 G MACs at 224×224."""
    return ResNet(BasicBlock, (2, 2, 2, 2), stem=stem, in_channels=in_channels, num_classes=num_classes)


@register_model
def resnet34(*, stem: Stem = "imagenet", in_channels: int = 3, num_classes: int = 1000) -> ResNet:
    """ResNet-34: 21.8 M parameters, 3.7 G MACs at 224×224."""
    return ResNet(BasicBlock, (3, 4, 6, 3), stem=stem, in_channels=in_channels, num_classes=num_classes)


@register_model
def resnet50(*, stem: Stem = "imagenet", in_channels: int = 3, num_classes: int = 1000) -> ResNet:
    """ResNet-50: 25.6 M parameters, 4.1 G MACs at 224×224."""
    return ResNet(Bottleneck, (3, 4, 6, 3), stem=stem, in_channels=in_channels, num_classes=num_classes)
