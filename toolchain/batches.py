"""Batches of images for training and evaluation: uint8, augmented and normalised batch by batch.

Images in memory are moved to the device once. Images that are decoded when asked for are decoded batch by batch, in
another thread, while the device works on the batch before; order and values do not depend on how fast either is.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ..models.data import Augmentation, DataError, ImageSet
from ..models.image_set import LazyImages, judged_at_once
from ..models.prefetch import prefetched
from ..models.preprocessing import Preprocessing

_DECODED_AT_ONCE = 256


class OrderedBatches(Protocol):
    """Preprocessed images with their labels, in a fixed order."""

    def at_once(self, most: int) -> int:
        """Images that are judged in one batch: `most`, fewer where the network's input is large."""

    def in_order(self, batch_size: int, *, limit: int | None = None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield `(float images (b, c, h, w), labels (b,))`, the first `limit` images only."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a training batch, augmented and normalised.

    Attributes:
        images: `(b, c, h, w)` float32.
        labels: `(b,)` int64.
        batch_images: Images of the whole batch.
        seed: Of what is random in the part's forward pass; None where the batch is one part.
    """

    images: torch.Tensor
    labels: torch.Tensor
    batch_images: int
    seed: int | None

    @property
    def share(self) -> float:
        """Share of the batch's images that are in this part."""
        return len(self.labels) / self.batch_images


class Batches:
    """An image set as tensors on one device, with the network's preprocessing applied batch by batch.

    Raises:
        DataError: If the images do not have the size or the channels that the network expects.
    """

    def __init__(self, images: ImageSet, preprocessing: Preprocessing, device: torch.device) -> None:
        _check_fit(images, preprocessing)
        self._pixels = _pixels_of(images, device)
        self._labels = torch.from_numpy(images.labels).to(device)  # (n,) int64
        self._preprocessing = preprocessing
        shape = (1, len(preprocessing.mean), 1, 1)
        self._mean = torch.tensor(preprocessing.mean, device=device).view(shape)
        self._std = torch.tensor(preprocessing.std, device=device).view(shape)

    def __len__(self) -> int:
        return len(self._labels)

    def at_once(self, most: int) -> int:
        """Images that are judged in one batch: `most`, fewer where the network's input is large."""
        return judged_at_once(most, self._preprocessing.height, self._preprocessing.width)

    def first(self, count: int) -> "Batches":
        """The first `count` images, decoded once and kept on the device: for what is judged again and again."""
        part = copy.copy(self)
        part._labels = self._labels[:count]
        part._pixels = self._pixels.kept(len(part))
        return part

    def in_order(self, batch_size: int, *, limit: int | None = None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield `(float images (b, c, h, w), labels (b,))` in the order of the set, the first `limit` images only."""
        parts = _slices(min(len(self), limit or len(self)), batch_size)
        for part, images in zip(parts, self._pixels.plain(parts), strict=True):
            yield self._prepare(images), self._labels[part]

    def shuffled(
        self,
        batch_size: int,
        augmentation: Augmentation,
        generator: torch.Generator,
        *,
        parts: int = 1,
        mine: range = range(1),
    ) -> Iterator[list[Part]]:
        """Yield augmented batches in random order, divided into parts.

        Args:
            batch_size: Images of a whole batch.
            augmentation: Applied to every image.
            generator: Draws the order; with several parts, also a seed for each of them, so that a part can be made
                without the others.
            parts: Equal parts of every batch.
            mine: Numbers of the parts that are made and yielded.

        A last batch with fewer than two images a part is left out: batch norm needs two.
        """
        order = torch.randperm(len(self), generator=generator)
        wholes = [rows for rows in torch.split(order, batch_size) if len(rows) >= 2 * parts]
        seeds: list[int | None] = [None] * len(wholes)
        if parts > 1:
            seeds = torch.randint(2**62, (len(wholes) * parts,), generator=generator).tolist()
        own_seeds = [seeds[number * parts + n] for number in range(len(wholes)) for n in mine]
        pieces = [rows.tensor_split(parts)[n] for rows in wholes for n in mine]
        generators = [generator if seed is None else torch.Generator().manual_seed(seed) for seed in own_seeds]
        varied = zip(pieces, own_seeds, self._pixels.varied(pieces, augmentation, generators), strict=True)
        for rows in wholes:
            yield [self._part(*piece, len(rows)) for piece in itertools.islice(varied, len(mine))]

    def _part(self, rows: torch.Tensor, seed: int | None, images: torch.Tensor, batch_images: int) -> Part:
        labels = self._labels[rows.to(self._labels.device)]
        return Part(images=self._prepare(images), labels=labels, batch_images=batch_images, seed=seed)

    def _prepare(self, images: torch.Tensor) -> torch.Tensor:
        record = self._preprocessing
        values = images.float()
        if record.resize == "bilinear" and values.shape[-2:] != (record.height, record.width):
            values = F.interpolate(values, (record.height, record.width), mode="bilinear", antialias=True)
        if record.channel_order == "BGR":
            values = values.flip(1)
        values = (values * record.scale - self._mean) / self._std
        return values.contiguous(memory_format=torch.channels_last)


class _Pixels(Protocol):
    """Where the images of a set are; all tensors are `(b, c, h, w)` uint8 on the device."""

    def plain(self, parts: Sequence[slice]) -> Iterator[torch.Tensor]:
        """Yield the images of each part."""

    def varied(
        self, parts: Sequence[torch.Tensor], augmentation: Augmentation, generators: Sequence[torch.Generator]
    ) -> Iterator[torch.Tensor]:
        """Yield the augmented images of each part, which are indices `(b,)`; each part has its generator."""

    def kept(self, count: int) -> "_ResidentPixels":
        """The first `count` images, on the device."""


class _ResidentPixels:
    """All images on the device."""

    def __init__(self, images: torch.Tensor) -> None:
        self._images = images

    def plain(self, parts: Sequence[slice]) -> Iterator[torch.Tensor]:
        return (self._images[part] for part in parts)

    def varied(
        self, parts: Sequence[torch.Tensor], augmentation: Augmentation, generators: Sequence[torch.Generator]
    ) -> Iterator[torch.Tensor]:
        if augmentation.crop_area is not None:
            raise DataError("random crops are taken of image files (images:DIR); images in memory are shifted instead")
        for part, generator in zip(parts, generators, strict=True):
            yield _augment(self._images[part.to(self._images.device)], augmentation, generator)

    def kept(self, count: int) -> "_ResidentPixels":
        return _ResidentPixels(self._images[:count])


class _DecodedPixels:
    """Images that are decoded batch by batch, ahead of their use."""

    def __init__(self, images: LazyImages, device: torch.device) -> None:
        self._images = images
        self._device = device

    def plain(self, parts: Sequence[slice]) -> Iterator[torch.Tensor]:
        for pixels in prefetched(self._images.__getitem__, parts):
            yield self._placed(pixels)

    def varied(
        self, parts: Sequence[torch.Tensor], augmentation: Augmentation, generators: Sequence[torch.Generator]
    ) -> Iterator[torch.Tensor]:
        area = augmentation.crop_area
        decode = self._whole(parts) if area is None else self._cropping(parts, area, generators)
        for pixels, generator in zip(prefetched(decode, range(len(parts))), generators, strict=True):
            yield _augment(self._placed(pixels), augmentation, generator)

    def _whole(self, parts: Sequence[torch.Tensor]) -> Callable[[int], NDArray[np.uint8]]:
        return lambda index: self._images[parts[index].numpy()]

    def _cropping(
        self, parts: Sequence[torch.Tensor], area: tuple[float, float], generators: Sequence[torch.Generator]
    ) -> Callable[[int], NDArray[np.uint8]]:
        # All drawn before anything is decoded: the generators are used in the caller's thread alone, in one order.
        draws = [
            torch.rand(len(part), 4, generator=generator, dtype=torch.float64).numpy()
            for part, generator in zip(parts, generators, strict=True)
        ]
        return lambda index: self._images.random_crops(parts[index].numpy(), draws[index], area)

    def kept(self, count: int) -> _ResidentPixels:
        parts = list(self.plain(_slices(count, _DECODED_AT_ONCE)))
        return _ResidentPixels(torch.cat(parts) if parts else self._placed(self._images[:0]))

    def _placed(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)


def _pixels_of(images: ImageSet, device: torch.device) -> _Pixels:
    array = images.images
    if not isinstance(array, np.ndarray):
        return _DecodedPixels(array, device)
    return _ResidentPixels(torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2))).to(device))


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _check_fit(images: ImageSet, record: Preprocessing) -> None:
    height, width, channels = images.images.shape[1:]
    if channels != len(record.mean):
        raise DataError(
            f"the images have {channels} channels, but the network expects {len(record.mean)} ({record.channel_order})"
        )
    if record.resize == "none" and (height, width) != (record.height, record.width):
        raise DataError(
            f"the images are {height}x{width}, but the network's preprocessing expects {record.height}x{record.width} "
            "and does not resize: give images of that size (for images:DIR with --image-size)"
        )


def _augment(images: torch.Tensor, augmentation: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by up to `augmentation.shift` pixels (zero filled) and mirror half of them, where asked."""
    count, channels, height, width = images.shape
    device = images.device
    if augmentation.flip:
        mirror = torch.rand(count, generator=generator).to(device) < 0.5
        images = torch.where(mirror.view(-1, 1, 1, 1), images.flip(3), images)
    if augmentation.shift:
        s = augmentation.shift
        padded = F.pad(images, (s, s, s, s))
        dy, dx = (torch.randint(0, 2 * s + 1, (count, 1), generator=generator).to(device) for _ in range(2))
        rows = dy + torch.arange(height, device=device)  # (n, h)
        cols = dx + torch.arange(width, device=device)  # (n, w)
        flat = rows[:, :, None] * padded.shape[3] + cols[:, None, :]  # (n, h, w)
        index = flat.view(count, 1, -1).expand(-1, channels, -1)
        images = padded.flatten(2).gather(2, index).view(count, channels, height, width)
    return images
