"""VGG-16 with batch norm; ``features`` numbered as torchvision's ``vgg16_bn``.

The ``imagenet`` stem has torchvision's three linear layers. The ``cifar`` stem, for small images, has one linear
layer behind the last pool: at 32×32 five pools leave one pixel. A pool that would leave nothing is left out (its
number stays free, so the keys of the layers behind it do not change); larger images are averaged to one pixel.

Source: Simonyan and Zisserman, arXiv:1409.1556, configuration D.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn

from .registry import register_model

Stem = Literal["cifar", "imagenet"]
_CONFIGURATION_D: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)


class VGG(nn.Module):
    """Five blocks of 3×3 convolutions, each with a max pool, and a classifier.

    Args:
        stem: ``"cifar"`` or ``"imagenet"``.
        in_channels: Channels of the images.
        num_classes: Outputs.
        image_height: Pixels; says which pools fit.
        image_width: Pixels.
    """

    def __init__(self, *, stem: Stem, in_channels: int, num_classes: int, image_height: int, image_width: int) -> None:
        super().__init__()
        self.features, height, width = _features(in_channels, image_height, image_width)
        self.avgpool: nn.AdaptiveAvgPool2d | None
        self.classifier: nn.Linear | nn.Sequential
        if stem == "cifar":
            self.avgpool = None if (height, width) == (1, 1) else nn.AdaptiveAvgPool2d((1, 1))
            self.classifier = nn.Linear(512, num_classes)
        else:
            self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
            self.classifier = _imagenet_classifier(num_classes)
        for module in self.modules():
            _initialise(module)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, in_channels, image_height, image_width)`` to logits ``(n, num_classes)``."""
        x = self.features(x)
        if self.avgpool is not None:
            x = self.avgpool(x)
        logits: Tensor = self.classifier(torch.flatten(x, 1))
        return logits


def _features(in_channels: int, height: int, width: int) -> tuple[nn.Sequential, int, int]:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    number = 0
    for block in _CONFIGURATION_D:
        for channels in block:
            conv = nn.Conv2d(in_channels, channels, 3, padding=1)
            for layer in (conv, nn.BatchNorm2d(channels), nn.ReLU()):
                layers[str(number)] = layer
                number += 1
            in_channels = channels
        if min(height, width) >= 2:
            layers[str(number)] = nn.MaxPool2d(2)
            height, width = height // 2, width // 2
        number += 1
    return nn.Sequential(layers), height, width


def _imagenet_classifier(num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(512 * 7 * 7, 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, num_classes),
    )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


@register_model
def vgg16(
    *,
    stem: Stem = "imagenet",
    in_channels: int = 3,
    num_classes: int = 1000,
    image_height: int | None = None,
    image_width: int | None = None,
) -> VGG:
    """VGG-16 with batch norm: 138 M parameters and 15.5 G MACs at 224×224; 14.7 M and 0.31 G at 32×32."""
    side = 32 if stem == "cifar" else 224
    return VGG(
        stem=stem,
        in_channels=in_channels,
        num_classes=num_classes,
        image_height=image_height or side,
        image_width=image_width or side,
    )
