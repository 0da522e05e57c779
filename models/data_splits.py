"""A data set in three parts: train, search (never trained on; decides everything), test (final figures)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .image_set import Augmentation, DataError, ImageSet
from .preprocessing import Preprocessing


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
        note: Where the parts come from, where that is not the same for every set of this kind.

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
    note: str = ""

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
        """Sizes, seed and note in one line."""
        sizes = ", ".join(f"{len(images):,} {part}" for part, images in self._parts().items())
        channels, height, width = self.image_shape
        note = f"; {self.note}" if self.note else ""
        return (
            f"{self.name}: {sizes} images of {height}×{width}×{channels}, {self.num_classes} classes, "
            f"seed {self.seed}{note}"
        )

    def resized(self, side: int) -> DataSplits:
        """The same images decoded at another size; images in memory stay as they are."""
        if isinstance(self.train.images, np.ndarray):
            return self
        return replace(
            self,
            train=self.train.resized(side),
            search=self.search.resized(side),
            test=self.test.resized(side),
            preprocessing=replace(self.preprocessing, height=side, width=side),
        )
