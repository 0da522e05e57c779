"""Image files as an array that decodes what is indexed: each image brought to one square size.

Decoding: upright as the EXIF record says, RGB, then one part of the image scaled to ``side`` × ``side`` with
Pillow's bilinear filter, which averages where it shrinks. Where a whole image is wanted, the part is its central
square: all of the shorter side up to 64 pixels, 87.5 % of it (224 of 256) at larger sizes, the usual ways to judge on
small images and on ImageNet. An image that already has that small size comes out as it is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from .image_set import DataError, Indices

Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge in pixels."""

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings of the files that are taken for images, in small letters."""

_SMALL_SIDE = 64
_CENTRAL_SHARE = 224 / 256
_WIDEST_RATIO = 4 / 3
_MOST_THREADS = 8
# A JPEG is decoded at a half, a quarter or an eighth of its size where that leaves twice the wanted resolution.
_DRAFT_MARGIN = 2
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_ORIENTATION = 0x0112


class ImageFiles:
    """Images of files; see :class:`act.models.image_set.LazyImages`.

    Args:
        files: Paths; none is opened before it is indexed.
        side: Height and width that every image is brought to, in pixels.
    """

    def __init__(self, files: Sequence[str] | NDArray[np.object_], side: int) -> None:
        if side < 1:
            raise DataError(f"the size of images must be at least 1 pixel, but is {side}")
        self._files: NDArray[np.object_] = np.asarray(files, dtype=np.object_).reshape(-1)
        self._side = side

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Always uint8."""
        return np.dtype(np.uint8)

    @property
    def ndim(self) -> int:
        """Always 4."""
        return 4

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, side, side, 3)``."""
        return len(self), self._side, self._side, 3

    @property
    def files(self) -> list[str]:
        """Paths in order."""
        return [str(file) for file in self._files]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, key: Indices | slice, /) -> NDArray[np.uint8]:
        """Decode the central squares of the images at ``key``.

        Raises:
            DataError: Naming the file that cannot be decoded.
        """
        share = 1.0 if self._side <= _SMALL_SIDE else _CENTRAL_SHARE
        files = self._files[key]
        return self._decode(files, [partial(_central_box, share=share)] * len(files))

    def random_crops(
        self, indices: Indices, draws: NDArray[np.float64], area: tuple[float, float]
    ) -> NDArray[np.uint8]:
        """Decode a random part of each image at ``indices``; aspect ratios lie between 3:4 and 4:3.

        Args:
            indices: ``(n,)``.
            draws: Uniform random numbers in [0, 1), shape ``(n, 4)``: area, ratio, and place across and down.
            area: Smallest and largest share of an image's area.

        Raises:
            DataError: Naming the file that cannot be decoded.
        """
        boxes = [partial(_random_box, draw=tuple(draw), area=area) for draw in draws.tolist()]
        return self._decode(self._files[indices], boxes)

    def select(self, indices: Indices) -> ImageFiles:
        """The files at ``indices``, in that order."""
        return ImageFiles(self._files[indices], self._side)

    def joined(self, others: Sequence[ImageFiles]) -> ImageFiles:
        """These files and those of ``others``, at this size."""
        return ImageFiles(np.concatenate([self._files, *(other._files for other in others)]), self._side)

    def resized(self, side: int) -> ImageFiles:
        """The same files at another size."""
        return ImageFiles(self._files, side)

    def _decode(self, files: NDArray[np.object_], boxes: Sequence[Callable[[int, int], Box]]) -> NDArray[np.uint8]:
        pixels = np.empty((len(files), self._side, self._side, 3), np.uint8)
        if len(files) == 0:
            return pixels
        threads = min(_MOST_THREADS, os.cpu_count() or 1, len(files))
        with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
            decoded = pool.map(lambda file, box_of: decode_image(str(file), self._side, box_of), files, boxes)
            for index, image in enumerate(decoded):
                pixels[index] = image
        return pixels


def decode_image(file: str, side: int, box_of: Callable[[int, int], Box]) -> NDArray[np.uint8]:
    """Decode one file.

    Args:
        file: Its path.
        side: Height and width of the result, in pixels.
        box_of: Which part of an upright image of so many pixels (width, height) to take.

    Returns:
        ``(side, side, 3)`` uint8, RGB.

    Raises:
        DataError: If it is missing, no image, cut short, too large, or has values that are no bytes.
    """
    try:
        with Image.open(file) as image:
            turned = image.getexif().get(_ORIENTATION) in _TURNED
            width, height = reversed(image.size) if turned else image.size
            box = box_of(width, height)
            _decode_smaller(image, min(box[2] - box[0], box[3] - box[1]) / (_DRAFT_MARGIN * side))
            ImageOps.exif_transpose(image, in_place=True)
            scaled = _scaled(box, image.width / width, image.height / height, image.size)
            rgb = _to_rgb(image)
            return np.asarray(rgb.resize((side, side), Image.Resampling.BILINEAR, box=scaled), np.uint8)
    except DataError as error:
        raise DataError(f"{file} cannot be used: {error}; replace or remove it") from error
    except Exception as error:  # damaged images end in almost any builtin exception
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file} cannot be decoded ({reason}): replace or remove it") from error


def _decode_smaller(image: Image.Image, factor: float) -> None:
    """Let a JPEG be decoded at a smaller size, up to ``factor`` times; other formats ignore it."""
    if factor >= 2:
        image.draft(None, (math.ceil(image.width / factor), math.ceil(image.height / factor)))


def _scaled(box: Box, across: float, down: float, size: tuple[int, int]) -> Box:
    """The box in an image of another size, inside of it in spite of rounding."""
    left, top, right, bottom = box
    width, height = size
    return left * across, top * down, min(right * across, width), min(bottom * down, height)


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB of bytes, from gray, palettes, CMYK or 16 bits; transparency is left out, as data loaders commonly do."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DataError(f"its pixels are 32-bit numbers (mode {image.mode}), whose range is not known")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, Pillow warns
    return image.convert("RGB")


def _central_box(width: int, height: int, share: float) -> Box:
    side = min(width, height) * share
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _random_box(width: int, height: int, draw: tuple[float, float, float, float], area: tuple[float, float]) -> Box:
    """A part of the area and aspect ratio drawn; where it does not fit, it is as wide or high as the image."""
    least, most = area
    pixels = width * height * (least + (most - least) * draw[0])
    ratio = _WIDEST_RATIO ** (2 * draw[1] - 1)  # evenly in its logarithm
    box_width = min(width, math.sqrt(pixels * ratio))
    box_height = min(height, math.sqrt(pixels / ratio))
    left, top = (width - box_width) * draw[2], (height - box_height) * draw[3]
    return left, top, min(left + box_width, width), min(top + box_height, height)
