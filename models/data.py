"""Data sets by name, in three parts: train, search (never trained on; decides everything), test (final figures).

* ``digits``: scikit-learn's handwritten digits, embedded: 1,797 gray images of 8×8 pixels with values 0..16;
* ``cifar10:DIR``: CIFAR-10, from ``train-0.npz`` … ``train-4.npz`` and ``test.npz`` or from torchvision's folder;
* ``npz:FILE``: anybody's arrays;
* ``images:DIR``: anybody's image files, in folders by part and class or by class alone, decoded when they are used, so
  that there may be more of them than memory holds (see ``images_folder`` and ``image_files``).

Where a set has no search part, a stratified part of the training images is held out by the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .cifar10 import CLASS_NAMES, load_cifar10
from .data_splits import DataSplits
from .image_set import Augmentation, DataError, ImageSet
from .naming import unknown_name
from .npz import load_npz
from .preprocessing import Preprocessing
from .splitting import hold_out, in_random_order, split_by_shares, stratified_parts

__all__ = ["IMAGES_SIDE", "Augmentation", "DataError", "DataSplits", "ImageSet", "is_folder_of_images", "load_data"]

IMAGES_SIDE = 224
"""Height and width that the images of a folder are brought to, where nothing else is asked for."""

_CIFAR_SEARCH_IMAGES = 5000
_SHARES = (0.70, 0.15, 0.15)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# ImageNet's usual 0.08 is for long trainings of large networks; small ones underfit with it.
_CROP_AREA = (0.25, 1.0)
_FORMS = {"digits": "digits", "cifar10": "cifar10:DIR", "npz": "npz:FILE", "images": "images:DIR"}


def is_folder_of_images(spec: str) -> bool:
    """Whether a specification names files that are decoded at any size, ``images:DIR``."""
    return spec.partition(":")[0] == "images"


def load_data(
    spec: str,
    *,
    seed: int = 0,
    download: bool = False,
    limit_train: int | None = None,
    image_size: int | None = None,
) -> DataSplits:
    """Load a data set.

    Args:
        spec: ``digits``, ``cifar10:DIR``, ``npz:FILE`` or ``images:DIR``.
        seed: Of the split into parts.
        download: Whether CIFAR-10 may be downloaded (through torchvision) where ``DIR`` does not hold it.
        limit_train: At most so many training images, in proportion of the classes; search and test parts stay whole.
        image_size: Height and width that the images of a folder are brought to; ``None`` for ``IMAGES_SIDE``. Other
            sets have their own size.

    Raises:
        DataError: If the specification is unknown, or the data is missing, damaged or of no use.
    """
    kind, _, place = spec.partition(":")
    path = Path(place).expanduser()
    loaders: dict[str, Callable[[], DataSplits]] = {
        "digits": lambda: _digits(seed),
        "cifar10": lambda: _cifar10(spec, path, seed, download),
        "npz": lambda: _npz(spec, path, seed),
        "images": lambda: _images(spec, path, seed, IMAGES_SIDE if image_size is None else image_size),
    }
    _check_spec(spec, kind, place, image_size)
    if seed < 0:
        raise DataError(f"the seed of a split must be at least 0, but is {seed}")
    splits = loaders[kind]()
    return splits if limit_train is None else _limited(splits, limit_train)


def _check_spec(spec: str, kind: str, place: str, image_size: int | None) -> None:
    if kind not in _FORMS:
        hint = ""
        if spec.endswith(".npz"):
            hint = f"; for that file write 'npz:{spec}'"
        elif spec and Path(spec).is_dir():
            hint = f"; for a folder of images write 'images:{spec}'"
        raise DataError(unknown_name("data", spec, _FORMS.values(), plural="data") + hint)
    if kind == "digits" and ":" in spec:
        raise DataError(f"data 'digits' is embedded and takes no place, but got {spec!r}: write 'digits'")
    if kind != "digits" and not place:
        raise DataError(f"data {spec!r} needs a place: write '{_FORMS[kind]}'")
    if image_size is not None and not is_folder_of_images(spec):
        raise DataError(f"an image size ({image_size}) is for images:DIR; the images of data {spec!r} have their own")


def _limited(splits: DataSplits, limit: int) -> DataSplits:
    if limit < 1:
        raise DataError(f"the limit of training images must be at least 1, but is {limit}")
    if limit >= len(splits.train):
        return splits
    (kept,) = stratified_parts(splits.train.labels, (limit,), splits.seed)
    return replace(splits, train=splits.train.subset(kept))


def _digits(seed: int) -> DataSplits:
    from sklearn.datasets import load_digits  # takes a second to import

    raw = load_digits()
    images = ImageSet(images=raw.images.astype(np.uint8)[..., None], labels=raw.target.astype(np.int64))
    train, search, test = split_by_shares(images, (0.60, 0.15, 0.25), seed)
    names = tuple(str(digit) for digit in range(10))
    return DataSplits(
        name="digits",
        train=train,
        search=search,
        test=test,
        class_names=names,
        seed=seed,
        augmentation=Augmentation(flip=False, shift=1),
        # Mean and deviation of all 1,797 images, so that they do not depend on the split.
        preprocessing=Preprocessing(
            height=8,
            width=8,
            channel_order="GRAY",
            scale=1 / 16,
            mean=(0.3053,),
            std=(0.3760,),
            class_names=names,
        ),
    )


def _cifar10(spec: str, folder: Path, seed: int, download: bool) -> DataSplits:
    whole, test = load_cifar10(folder, download=download)
    train, search = hold_out(whole, _CIFAR_SEARCH_IMAGES, seed)
    return DataSplits(
        name=spec,
        train=train,
        search=search,
        test=test,
        class_names=CLASS_NAMES,
        seed=seed,
        augmentation=Augmentation(flip=True, shift=4),
        preprocessing=Preprocessing(
            height=32,
            width=32,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
            class_names=CLASS_NAMES,
        ),
    )


def _npz(spec: str, file: Path, seed: int) -> DataSplits:
    arrays = load_npz(file)
    train, search, test = _three_parts(arrays.train, arrays.search, arrays.test, seed)
    mean, std = _statistics(train.images[:])
    height, width, channels = train.images.shape[1:]
    return DataSplits(
        name=spec,
        train=train,
        search=search,
        test=test,
        class_names=arrays.class_names,
        seed=seed,
        # Mirroring changes the meaning of digits and letters, and nothing here says what the images show.
        augmentation=Augmentation(flip=False, shift=min(4, min(height, width) // 8)),
        preprocessing=Preprocessing(
            height=height,
            width=width,
            channel_order="RGB" if channels == 3 else "GRAY",
            mean=mean,
            std=std,
            class_names=arrays.class_names,
        ),
    )


def _images(spec: str, folder: Path, seed: int, side: int) -> DataSplits:
    from .images_folder import load_images_folder  # needs Pillow

    found = load_images_folder(folder, side)
    parts = _three_parts(found.train, found.search, found.test, seed)
    # Files come class by class, but the first few of a part must stand for all of it.
    train, search, test = (in_random_order(part, seed) for part in parts)
    return DataSplits(
        name=spec,
        train=train,
        search=search,
        test=test,
        class_names=found.class_names,
        seed=seed,
        augmentation=Augmentation(flip=True, shift=0, crop_area=_CROP_AREA),
        preprocessing=Preprocessing(
            height=side, width=side, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, class_names=found.class_names
        ),
        note=found.note,
    )


def _three_parts(
    train: ImageSet, search: ImageSet | None, test: ImageSet | None, seed: int
) -> tuple[ImageSet, ImageSet, ImageSet]:
    """The parts that are there, and those that are not split off; without a test part everything is split."""
    if test is None:
        first, second, third = split_by_shares(train, _SHARES, seed)
        return first, second, third
    if search is None:
        train, search = hold_out(train, max(1, min(len(train) // 10, _CIFAR_SEARCH_IMAGES)), seed)
    return train, search, test


def _statistics(pixels: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of values scaled to 0..1, exact, from histograms."""
    levels = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(pixels.shape[3]):
        counts = np.bincount(pixels[..., channel].ravel(), minlength=256)
        share = counts / counts.sum()
        mean = float(share @ levels)
        deviation = float(np.sqrt(share @ (levels - mean) ** 2))
        means.append(round(mean, 4))
        deviations.append(max(round(deviation, 4), 0.01))  # a constant channel must not be blown up
    return tuple(means), tuple(deviations)
