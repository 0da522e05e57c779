"""Weights as an image: four values a texel, in their order, rows of texels one after another.

A phone's GPU has a cache for images beside that for buffers, and reads a texel, red, green, blue and alpha, at once.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from ..device.package_records import TEXEL_VALUES

__all__ = ["IMAGE_ATTRIBUTE", "TEXEL_VALUES", "image_size", "texels"]

IMAGE_ATTRIBUTE = "act.image"  # of a scheduled function: index of the parameter that is read from an image


def image_size(values: int) -> tuple[int, int]:
    """Height and width in texels of the image of so many values: nearly square, the width a power of two."""
    count = -(-values // TEXEL_VALUES)
    width = 1 << (isqrt(max(count - 1, 0))).bit_length()
    return -(-count // width), width


def texels(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values as an image of shape ``(height, width, 4)``, zeros behind the last one."""
    height, width = image_size(values.size)
    image = np.zeros(height * width * TEXEL_VALUES, values.dtype)
    image[: values.size] = values.reshape(-1)
    return image.reshape(height, width, TEXEL_VALUES)
