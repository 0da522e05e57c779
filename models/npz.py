"""Images and labels from numpy archives, read without pickle and checked.

Arrays: ``x`` and ``y`` (split by the seed), or ``x_train``, ``y_train``, ``x_test``, ``y_test`` and, if wanted,
``x_search``, ``y_search``. Images are uint8 ``(n, h, w, c)`` with 1 or 3 channels, or ``(n, h, w)``; labels are whole
numbers ``(n,)`` from 0 without gaps. ``class_names``, strings ``(classes,)``, may be there too.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .image_set import DataError, ImageSet
from .naming import unknown_name

_PARTS = ("train", "search", "test")
_KEYS = ("x", "y", *(f"{array}_{part}" for part in _PARTS for array in "xy"), "class_names")
_MOST_CLASSES = 65536
_DAMAGED = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, SyntaxError)


@dataclass(frozen=True, kw_only=True, eq=False)
class NpzArrays:
    """What a file holds: one set still to be split (``test`` is ``None``), or parts, ``search`` perhaps missing."""

    train: ImageSet
    search: ImageSet | None
    test: ImageSet | None
    class_names: tuple[str, ...]


def load_npz(file: Path) -> NpzArrays:
    """Read and check a data file.

    Raises:
        DataError: If it is missing, damaged, or its arrays are not as the module says.
    """
    arrays = read_arrays(file)
    for key in arrays:
        if key not in _KEYS:
            raise DataError(f"{file}: {unknown_name('array', key, _KEYS)}")
    whole = _pair(arrays, "", file)
    parts = {part: _pair(arrays, f"_{part}", file) for part in _PARTS}
    if (whole is None) == (parts["train"] is None) or (whole is None and parts["test"] is None):
        raise DataError(
            f"{file} must hold either x and y, or x_train, y_train, x_test and y_test, but holds "
            f"{', '.join(sorted(arrays)) or 'no arrays'}"
        )
    if whole is not None and (parts["search"] is not None or parts["test"] is not None):
        raise DataError(f"{file} holds x and y, which are split here, and parts beside them: give one or the other")
    train = whole if whole is not None else parts["train"]
    if train is None:
        raise AssertionError("one of the two is there, as checked above")
    names = _class_names(arrays, train, file)
    return NpzArrays(train=train, search=parts["search"], test=parts["test"], class_names=names)


def read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an npz file; never unpickles.

    Raises:
        DataError: If the file is missing, is not an npz file, is damaged, or holds Python objects.
    """
    if not file.is_file():
        raise DataError(f"there is no file {file}")
    try:
        if not zipfile.is_zipfile(file):
            raise DataError(f"{file} is not an npz file, or was cut short: write one with numpy.savez")
        with np.load(file, allow_pickle=False) as archive:
            return {key: np.asarray(archive[key]) for key in archive.files}
    except DataError:
        raise
    except _DAMAGED as error:
        objects = "allow_pickle" in str(error)
        reason = "it holds Python objects, which are never unpickled" if objects else f"it is damaged ({error})"
        raise DataError(f"{file} cannot be read: {reason}; write plain arrays with numpy.savez") from error


def to_image_set(images: NDArray[Any], labels: NDArray[Any], place: str) -> ImageSet:
    """Check two arrays and join them; ``place`` names them in errors.

    Raises:
        DataError: If dtype, shape or range is wrong, or the lengths differ.
    """
    if images.dtype != np.uint8:
        raise DataError(f"{place}: images must be uint8 with values 0..255, but are {images.dtype}")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape[1:3]:
        raise DataError(
            f"{place}: images must have shape (n, h, w), (n, h, w, 1) or (n, h, w, 3), but have {images.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise DataError(
            f"{place}: labels must be whole numbers of shape (n,), but are {labels.dtype} of shape {labels.shape}"
        )
    if len(images) != len(labels):
        raise DataError(f"{place}: there are {len(images)} images, but {len(labels)} labels")
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < _MOST_CLASSES):
        raise DataError(
            f"{place}: labels must lie in 0..{_MOST_CLASSES - 1}, but lie in {labels.min()}..{labels.max()}"
        )
    return ImageSet(images=images, labels=labels.astype(np.int64))


def _pair(arrays: dict[str, NDArray[Any]], suffix: str, file: Path) -> ImageSet | None:
    x, y = f"x{suffix}", f"y{suffix}"
    if x not in arrays and y not in arrays:
        return None
    for key, other in ((x, y), (y, x)):
        if key not in arrays:
            raise DataError(f"{file} holds {other} without {key}")
    images = to_image_set(arrays[x], arrays[y], f"{file}, arrays {x} and {y}")
    if len(images) == 0:
        raise DataError(f"{file}: arrays {x} and {y} are empty")
    return images


def _class_names(arrays: dict[str, NDArray[Any]], images: ImageSet, file: Path) -> tuple[str, ...]:
    present = np.unique(images.labels)
    if len(present) == 1:
        raise DataError(f"{file} has one class only: at least two are needed to judge a classifier")
    count = int(present[-1]) + 1
    if len(present) < count:
        gap = int(np.setdiff1d(np.arange(count), present)[0])
        raise DataError(f"{file}: labels must be numbered 0..{count - 1} without gaps, but no image has label {gap}")
    if "class_names" not in arrays:
        return tuple(str(number) for number in range(count))
    names = arrays["class_names"]
    if names.dtype.kind != "U" or names.shape != (count,):
        raise DataError(f"{file}: class_names must be {count} strings, but are {names.dtype} of shape {names.shape}")
    return tuple(str(name) for name in names)
