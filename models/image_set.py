"""Labelled images, in memory or decoded when asked for, and how training may vary them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class DataError(ValueError):
    """A data set that is unknown, missing, damaged or of no use."""


class LazyImages(Protocol):
    """Images that are decoded when they are indexed, so that there may be more of them than memory holds.

    Reads as an array ``(n, side, side, 3)`` uint8, RGB. May be indexed from several threads at once.
    """

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Always uint8."""

    @property
    def ndim(self) -> int:
        """Always 4."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, side, side, 3)``."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, key: Indices | slice, /) -> NDArray[np.uint8]:
        """Decode the images at ``key``, in that order; raises :class:`DataError` where one cannot be decoded."""

    def random_crops(
        self, indices: Indices, draws: NDArray[np.float64], area: tuple[float, float]
    ) -> NDArray[np.uint8]:
        """Decode a random part of each image at ``indices``, brought to the full size.

        Args:
            indices: ``(n,)``.
            draws: Uniform random numbers in [0, 1), shape ``(n, 4)``; they alone decide which parts.
            area: Smallest and largest share of an image's area that a part has.
        """

    def select(self, indices: Indices) -> Self:
        """The images at ``indices``, in that order, still not decoded."""

    def joined(self, others: Sequence[Self]) -> Self:
        """These images and those of ``others``, still not decoded."""

    def resized(self, side: int) -> Self:
        """The same images at another size, still not decoded."""


ImageArray = NDArray[np.uint8] | LazyImages
"""Images ``(n, h, w, c)`` uint8, indexed by slices and index arrays."""

_PIXELS_AT_ONCE = 500 * 96 * 96


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with labels.

    Attributes:
        images: ``(n, h, w, c)`` uint8; RGB where ``c`` is 3, gray where it is 1.
        labels: ``(n,)`` int64, class numbers from 0.
    """

    images: ImageArray
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
        """The images at ``indices``, in that order: a copy of those in memory."""
        images = self.images
        chosen = images[indices] if isinstance(images, np.ndarray) else images.select(indices)
        return ImageSet(images=chosen, labels=self.labels[indices])

    def resized(self, side: int) -> ImageSet:
        """The same images at another size, where they are decoded when asked for; those in memory stay as they are."""
        images = self.images
        return self if isinstance(images, np.ndarray) else ImageSet(images=images.resized(side), labels=self.labels)


def join(sets: Sequence[ImageSet]) -> ImageSet:
    """One set after another; all of one size, and all in memory or all of one lazy kind.

    Raises:
        DataError: If they are not.
    """
    shapes = {part.images.shape[1:] for part in sets}
    arrays = [part.images for part in sets if isinstance(part.images, np.ndarray)]
    lazy = [part.images for part in sets if not isinstance(part.images, np.ndarray)]
    if len(shapes) != 1 or (arrays and lazy):
        raise DataError(f"image sets of shapes {sorted(shapes)} cannot be joined: they must be of one size and kind")
    images: ImageArray = lazy[0].joined(lazy[1:]) if lazy else np.concatenate(arrays)
    return ImageSet(images=images, labels=np.concatenate([part.labels for part in sets]))


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random variation of training images.

    Attributes:
        flip: Mirror half of the images left to right.
        shift: Move by up to so many pixels in each direction, filling with zeros.
        crop_area: Take a random part that has such a share of an image's area (smallest, largest), brought to the
            full size; for images that are decoded when asked for. ``None`` takes them as they are.

    Raises:
        DataError: On creation, if a value is out of range.
    """

    flip: bool
    shift: int
    crop_area: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise DataError(f"shift must be at least 0 pixels, but is {self.shift}")
        if self.crop_area is not None and not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise DataError(f"crop_area must be two shares in (0, 1], the smaller first, but is {self.crop_area}")


def judged_at_once(most: int, height: int, width: int) -> int:
    """Images of a size that are judged in one batch: ``most``, fewer where those would fill the memory."""
    return max(1, min(most, _PIXELS_AT_ONCE // (height * width)))
