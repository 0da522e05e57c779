"""Labelled images in memory, and how training may vary them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class DataError(ValueError):
    """A data set that is unknown, missing, damaged or of no use."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with labels.

    Attributes:
        images: ``(n, h, w, c)`` uint8; RGB where ``c`` is 3, gray where it is 1.
        labels: ``(n,)`` int64, class numbers from 0.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise DataError(
                f"images must be uint8 of shape (n, h, w, c), but are {self.images.dtype} of shape {self.images.shape}"
            )
        if self.labels.dtype != np.int64 or self.labels.ndim != 1:
            raise DataError(
                f"labels must be int64 of shape (n,), but are {self.labels.dtype} of shape {self.labels.shape}"
            )
        if len(self.images) != len(self.labels):
            raise DataError(f"there are {len(self.images)} images, but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Indices) -> ImageSet:
        """Copy of the images at ``indices``, in that order."""
        return ImageSet(images=self.images[indices], labels=self.labels[indices])


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random variation of training images.

    Attributes:
        flip: Mirror half of the images left to right.
        shift: Move by up to so many pixels in each direction, filling with zeros.
    """

    flip: bool
    shift: int
