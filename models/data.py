"""Data sets by name, in three parts: train, search (never trained on; decides everything), test (final figures).

* ``digits``: scikit-learn's handwritten digits, embedded: 1,797 gray images of 8×8 pixels with values 0..16;
* ``cifar10:DIR``: CIFAR-10, from ``train-0.npz`` … ``train-4.npz`` and ``test.npz`` or from torchvision's folder;
* ``npz:FILE``: anybody's arrays.

Where a set has no search part, a stratified part of the training images is held out by the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .cifar10 import CLASS_NAMES, load_cifar10
from .image_set import Augmentation, DataError, ImageSet
from .naming import unknown_name
from .npz import load_npz
from .preprocessing import Preprocessing
from .splitting import hold_out, split_by_shares, stratified_parts

__all__ = ["Augmentation", "DataError", "DataSplits", "ImageSet", "load_data"]

_CIFAR_SEARCH_IMAGES = 5000
_FORMS = {"digits": "digits", "cifar10": "cifar10:DIR", "npz": "npz:FILE"}


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSplits:
    """A data set in three parts, with what training and evaluation need to know about it.

    Attributes:
        name: The specification it was loaded from.
        train: Trained on.
        search: Decides everything; never trained on.
        test: For final figures alone.
        class_names: Of the outputs, in order.
        seed: Of the split.
        augmentation: That suits the images.
        preprocessing: That suits a network trained on the train part.

    Raises:
        DataError: On creation, if a part is empty, there is one class only, or the parts do not fit together.
    """

    name: str
    train: ImageSet
    search: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    seed: int
    augmentation: Augmentation
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        for part, images in self._parts().items():
            if len(images) == 0:
                raise DataError(f"data {self.name!r}: the {part} part is empty")
            if images.images.shape[1:] != self.train.images.shape[1:]:
                raise DataError(
                    f"data {self.name!r}: images of the {part} part have shape {images.images.shape[1:]}, but those "
                    f"of the train part have {self.train.images.shape[1:]}"
                )
            low, high = int(images.labels.min()), int(images.labels.max())
            if low < 0 or high >= self.num_classes:
                raise DataError(
                    f"data {self.name!r}: labels of the {part} part must lie in 0..{self.num_classes - 1}, but lie in "
                    f"{low}..{high}"
                )
        if len(np.unique(self.train.labels)) < 2:
            raise DataError(f"data {self.name!r} has one class only: at least two are needed to judge a classifier")

    def _parts(self) -> dict[str, ImageSet]:
        return {"train": self.train, "search": self.search, "test": self.test}

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(c, h, w)`` of every image."""
        height, width, channels = self.train.images.shape[1:]
        return channels, height, width

    def describe(self) -> str:
        """Sizes and seed in one line."""
        sizes = ", ".join(f"{len(images):,} {part}" for part, images in self._parts().items())
        channels, height, width = self.image_shape
        return (
            f"{self.name}: {sizes} images of {height}×{width}×{channels}, {self.num_classes} classes, seed {self.seed}"
        )


def load_data(spec: str, *, seed: int = 0, download: bool = False, limit_train: int | None = None) -> DataSplits:
    """Load a data set.

    Args:
        spec: ``digits``, ``cifar10:DIR`` or ``npz:FILE``.
        seed: Of the split into parts.
        download: Whether CIFAR-10 may be downloaded (through torchvision) where ``DIR`` does not hold it.
        limit_train: At most so many training images, in proportion of the classes; search and test parts stay whole.

    Raises:
        DataError: If the specification is unknown, or the data is missing, damaged or of no use.
    """
    kind, _, place = spec.partition(":")
    loaders: dict[str, Callable[[], DataSplits]] = {
        "digits": lambda: _digits(seed),
        "cifar10": lambda: _cifar10(spec, Path(place).expanduser(), seed, download),
        "npz": lambda: _npz(spec, Path(place).expanduser(), seed),
    }
    _check_spec(spec, kind, place)
    if seed < 0:
        raise DataError(f"the seed of a split must be at least 0, but is {seed}")
    splits = loaders[kind]()
    return splits if limit_train is None else _limited(splits, limit_train)


def _check_spec(spec: str, kind: str, place: str) -> None:
    if kind not in _FORMS:
        hint = ""
        if spec.endswith(".npz"):
            hint = f"; for that file write 'npz:{spec}'"
        raise DataError(unknown_name("data", spec, _FORMS.values(), plural="data") + hint)
    if kind == "digits" and ":" in spec:
        raise DataError(f"data 'digits' is embedded and takes no place, but got {spec!r}: write 'digits'")
    if kind != "digits" and not place:
        raise DataError(f"data {spec!r} needs a place: write '{_FORMS[kind]}'")


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
    if arrays.test is None:
        train, search, test = split_by_shares(arrays.train, (0.70, 0.15, 0.15), seed)
    else:
        train, test = arrays.train, arrays.test
        if arrays.search is not None:
            search = arrays.search
        else:
            train, search = hold_out(train, max(1, min(len(train) // 10, _CIFAR_SEARCH_IMAGES)), seed)
    mean, std = _statistics(train)
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


def _statistics(images: ImageSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of values scaled to 0..1, exact, from histograms."""
    levels = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.images.shape[3]):
        counts = np.bincount(images.images[..., channel].ravel(), minlength=256)
        share = counts / counts.sum()
        mean = float(share @ levels)
        deviation = float(np.sqrt(share @ (levels - mean) ** 2))
        means.append(round(mean, 4))
        deviations.append(max(round(deviation, 4), 0.01))  # a constant channel must not be blown up
    return tuple(means), tuple(deviations)
