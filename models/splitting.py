"""Seeded, stratified splits: every part has each class in proportion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .image_set import DataError, ImageSet, Indices


def stratified_parts(labels: NDArray[np.int64], sizes: Sequence[int], seed: int) -> list[Indices]:
    """Split ``0..n-1`` into disjoint parts with the classes in proportion, up to rounding.

    Args:
        labels: ``(n,)``.
        sizes: Wanted sizes; together at most ``n``.
        seed: Of the choice and of the order within each part.

    Returns:
        One index array per part, in random order.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    # Spread each class evenly over 0..1; then any stretch of the sorted sequence holds every class in proportion.
    position = np.empty(len(labels))
    for value in np.unique(labels):
        members = order[labels[order] == value]
        position[members] = (np.arange(len(members)) + generator.random()) / len(members)
    sequence = np.lexsort((order.argsort(), position))
    ends = np.cumsum(sizes)
    parts = [sequence[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    return [generator.permutation(part) for part in parts]


def split_by_shares(images: ImageSet, shares: Sequence[float], seed: int) -> list[ImageSet]:
    """Split into parts of the given shares, which add to 1; the first part takes the rounding.

    Raises:
        DataError: If a part would be empty.
    """
    sizes = [round(share * len(images)) for share in shares[1:]]
    sizes.insert(0, len(images) - sum(sizes))
    if min(sizes) < 1:
        raise DataError(f"{len(images)} images are too few to split into {len(shares)} parts: one would be empty")
    return [images.subset(part) for part in stratified_parts(images.labels, sizes, seed)]


def hold_out(images: ImageSet, count: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Take ``count`` images out: ``(the rest, the part taken)``.

    Raises:
        DataError: If either would be empty.
    """
    if not 1 <= count < len(images):
        raise DataError(
            f"{len(images)} training images are too few to hold out {count} for the search: one part would be empty"
        )
    held, rest = stratified_parts(images.labels, (count, len(images) - count), seed)
    return images.subset(rest), images.subset(held)


def in_random_order(images: ImageSet, seed: int) -> ImageSet:
    """The same images in an order that the seed decides."""
    (order,) = stratified_parts(images.labels, (len(images),), seed)
    return images.subset(order)
