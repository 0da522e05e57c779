"""Preprocessed images kept on the device, so that a search that judges hundreds of candidates prepares them once."""

import math
from collections.abc import Iterator

import torch

from ...models.image_set import judged_at_once
from ..batches import Batches, OrderedBatches

MOST_BYTES = 1 << 30
_CHUNK = 500


class PreparedBatches:
    """The first images of a set, ready for the network.

    Args:
        images: Preprocessed, float ``(n, c, h, w)``, on the device.
        labels: ``(n,)``.
    """

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return len(self._labels)

    def at_once(self, most: int) -> int:
        """Images that are judged in one batch: `most`, fewer where they are large."""
        return judged_at_once(most, self._images.shape[2], self._images.shape[3])

    def in_order(self, batch_size: int, *, limit: int | None = None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield slices of at most `batch_size` images; equal to those of the `Batches` they were made from."""
        count = min(len(self), limit or len(self))
        for start in range(0, count, batch_size):
            part = slice(start, min(start + batch_size, count))
            yield self._images[part], self._labels[part]

    def interleaved(self, parts: int) -> "PreparedBatches":
        """The same images, reordered so that each of `parts` consecutive parts is spread over the whole order."""
        order = torch.cat([torch.arange(start, len(self), parts) for start in range(parts)]).to(self._labels.device)
        images = self._images[order].contiguous(memory_format=torch.channels_last)
        return PreparedBatches(images, self._labels[order])


def prepare(batches: Batches, limit: int) -> OrderedBatches:
    """The first `limit` images, preprocessed once; decoded once at least where that takes more than 1 GiB."""
    first = next(batches.in_order(1))[0]
    count = min(len(batches), limit)
    if count * math.prod(first.shape) * first.element_size() > MOST_BYTES:
        return batches.first(count)
    pieces = list(batches.in_order(_CHUNK, limit=limit))
    return PreparedBatches(torch.cat([images for images, _ in pieces]), torch.cat([labels for _, labels in pieces]))
