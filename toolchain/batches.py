"""Batches of images for training and evaluation: uint8 in memory, augmented and normalised batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..models.data import Augmentation, DataError, ImageSet
from ..models.preprocessing import Preprocessing


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
        array = np.ascontiguousarray(images.images.transpose(0, 3, 1, 2))
        self._images = torch.from_numpy(array).to(device)  # (n, c, h, w) uint8
        self._labels = torch.from_numpy(images.labels).to(device)  # (n,) int64
        self._preprocessing = preprocessing
        shape = (1, len(preprocessing.mean), 1, 1)
        self._mean = torch.tensor(preprocessing.mean, device=device).view(shape)
        self._std = torch.tensor(preprocessing.std, device=device).view(shape)

    def __len__(self) -> int:
        return len(self._labels)

    def in_order(self, batch_size: int, *, limit: int | None = None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield `(float images (b, c, h, w), labels (b,))` in the order of the set, the first `limit` images only."""
        count = min(len(self), limit or len(self))
        for start in range(0, count, batch_size):
            part = slice(start, min(start + batch_size, count))
            yield self._prepare(self._images[part]), self._labels[part]

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
        for number, rows in enumerate(wholes):
            pieces = rows.tensor_split(parts)
            yield [self._part(pieces[n], len(rows), augmentation, generator, seeds[number * parts + n]) for n in mine]

    def _part(
        self,
        rows: torch.Tensor,
        batch_images: int,
        augmentation: Augmentation,
        generator: torch.Generator,
        seed: int | None,
    ) -> Part:
        own = generator if seed is None else torch.Generator().manual_seed(seed)
        chosen = rows.to(self._images.device)
        images = _augment(self._images[chosen], augmentation, own)
        return Part(images=self._prepare(images), labels=self._labels[chosen], batch_images=batch_images, seed=seed)

    def _prepare(self, images: torch.Tensor) -> torch.Tensor:
        record = self._preprocessing
        values = images.float()
        if record.resize == "bilinear" and values.shape[-2:] != (record.height, record.width):
            values = F.interpolate(values, (record.height, record.width), mode="bilinear", antialias=True)
        if record.channel_order == "BGR":
            values = values.flip(1)
        values = (values * record.scale - self._mean) / self._std
        return values.contiguous(memory_format=torch.channels_last)


def _check_fit(images: ImageSet, record: Preprocessing) -> None:
    height, width, channels = images.images.shape[1:]
    if channels != len(record.mean):
        raise DataError(
            f"the images have {channels} channels, but the network expects {len(record.mean)} ({record.channel_order})"
        )
    if record.resize == "none" and (height, width) != (record.height, record.width):
        raise DataError(
            f"the images are {height}x{width}, but the network's preprocessing expects {record.height}x{record.width} "
            "and does not resize: give images of that size"
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
