"""LeNet-5 in the size that compression papers use: 20 and 50 filters of 5×5, then 500 hidden units.

Images below 16 pixels are padded so that both convolutions fit, and a max pool that would leave nothing is left out.

Source: LeCun et al., 1998, with the sizes of Caffe's example (431 thousand parameters at 28×28).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .registry import register_model

_SMALLEST_UNPADDED = 16


class LeNet5(nn.Module):
    """Two convolutions with max pools, two linear layers.

    Args:
        in_channels: Channels of the images.
        num_classes: Outputs.
        image_height: Pixels; the first linear layer depends on it.
        image_width: Pixels.
    """

    def __init__(self, *, in_channels: int, num_classes: int, image_height: int, image_width: int) -> None:
        super().__init__()
        padding = 0 if min(image_height, image_width) >= _SMALLEST_UNPADDED else 2
        height, width = image_height + 2 * padding - 4, image_width + 2 * padding - 4
        self.conv1 = nn.Conv2d(in_channels, 20, 5, padding=padding)
        self.relu1 = nn.ReLU()
        self.pool1, height, width = _pool(height, width)
        height, width = height + 2 * padding - 4, width + 2 * padding - 4
        self.conv2 = nn.Conv2d(20, 50, 5, padding=padding)
        self.relu2 = nn.ReLU()
        self.pool2, height, width = _pool(height, width)
        self.fc1 = nn.Linear(50 * height * width, 500)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(500, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, in_channels, image_height, image_width)`` to logits ``(n, num_classes)``."""
        x = self.relu1(self.conv1(x))
        if self.pool1 is not None:
            x = self.pool1(x)
        x = self.relu2(self.conv2(x))
        if self.pool2 is not None:
            x = self.pool2(x)
        logits: Tensor = self.fc2(self.relu3(self.fc1(torch.flatten(x, 1))))
        return logits


def _pool(height: int, width: int) -> tuple[nn.MaxPool2d | None, int, int]:
    if min(height, width) < 2:
        return None, height, width
    return nn.MaxPool2d(2), height // 2, width // 2


@register_model
def lenet5(*, in_channels: int = 1, num_classes: int = 10, image_height: int = 28, image_width: int = 28) -> LeNet5:
    """LeNet-5: 0.43 M parameters, 2.3 M MACs at 28×28."""
    return LeNet5(in_channels=in_channels, num_classes=num_classes, image_height=image_height, image_width=image_width)
