"""CIFAR-10 from npz files, or from the folder that torchvision downloads.

That folder's files are pickles. They are read with an unpickler that can rebuild numpy arrays and nothing else: a
file that names any other function is refused, and the function is not called.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .image_set import DataError, ImageSet, join
from .npz import read_arrays, to_image_set

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_NPZ_TRAIN = tuple(f"train-{number}.npz" for number in range(5))
_PICKLE_FOLDER = "cifar-10-batches-py"
_PICKLE_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_SHAPE = (32, 32, 3)


def load_cifar10(folder: Path, *, download: bool) -> tuple[ImageSet, ImageSet]:
    """Load all training and all test images.

    Args:
        folder: Holds ``train-0.npz`` … ``train-4.npz`` and ``test.npz`` (arrays ``x``, ``y``), or is or holds
            ``cifar-10-batches-py``.
        download: Whether to download the latter into ``folder`` where neither is there.

    Raises:
        DataError: If files are missing or damaged.
    """
    if not folder.is_dir() and not download:
        raise DataError(f"there is no folder {folder}: {_EXPECTED}")
    if (folder / "test.npz").is_file():
        return _from_npz(folder)
    pickles = _pickle_folder(folder)
    if pickles is None and download:
        _download(folder)
        pickles = _pickle_folder(folder)
    if pickles is None:
        raise DataError(f"folder {folder} does not hold CIFAR-10: {_EXPECTED}")
    return join([_read_batch(pickles / name) for name in _PICKLE_TRAIN]), _read_batch(pickles / "test_batch")


_EXPECTED = (
    f"expected train-0.npz … train-4.npz and test.npz with arrays x and y, or torchvision's {_PICKLE_FOLDER} "
    "(which is downloaded when asked for)"
)


def _from_npz(folder: Path) -> tuple[ImageSet, ImageSet]:
    return join([_read_npz(folder / name) for name in _NPZ_TRAIN]), _read_npz(folder / "test.npz")


def _read_npz(file: Path) -> ImageSet:
    arrays = read_arrays(file)
    for key in ("x", "y"):
        if key not in arrays:
            raise DataError(f"{file} must hold arrays x and y, but holds {', '.join(sorted(arrays)) or 'none'}")
    return _checked(to_image_set(arrays["x"], arrays["y"], str(file)), file)


def _checked(images: ImageSet, file: Path) -> ImageSet:
    if images.images.shape[1:] != _SHAPE:
        raise DataError(f"{file}: CIFAR-10 images have shape {_SHAPE}, but these have {images.images.shape[1:]}")
    if len(images) == 0 or int(images.labels.max()) >= len(CLASS_NAMES):
        raise DataError(f"{file}: CIFAR-10 labels lie in 0..9 and there is at least one, but these do not")
    return images


def _pickle_folder(folder: Path) -> Path | None:
    return next((path for path in (folder, folder / _PICKLE_FOLDER) if (path / "test_batch").is_file()), None)


def _download(folder: Path) -> None:
    from .torchvision_compat import import_torchvision

    import_torchvision()
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import download_and_extract_archive

    try:
        # Checks the archive's MD5; torchvision's own reader, which unpickles freely, is not used.
        download_and_extract_archive(CIFAR10.url, str(folder), filename=CIFAR10.filename, md5=CIFAR10.tgz_md5)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"CIFAR-10 could not be downloaded into {folder}: {error}") from error


def _read_batch(file: Path) -> ImageSet:
    """Read one file of torchvision's folder: ``data`` is ``(n, 3072)``, the three colour planes one after another."""
    if not file.is_file():
        raise DataError(f"{file} is missing: the download is not complete; remove the folder and download it again")
    try:
        with file.open("rb") as stream:
            record = _ArrayUnpickler(stream, encoding="bytes").load()
    except _RefusedError as error:
        raise DataError(f"{file} is refused: {error}") from error
    except Exception as error:  # damaged pickles end in almost any builtin exception
        raise DataError(f"{file} is damaged ({type(error).__name__}: {error}): download it again") from error
    data, labels = _entries(record, file)
    pixels = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return _checked(to_image_set(np.ascontiguousarray(pixels), labels, str(file)), file)


def _entries(record: object, file: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    if not isinstance(record, dict) or b"data" not in record or b"labels" not in record:
        raise DataError(f"{file} is not a batch of CIFAR-10: entries 'data' and 'labels' are expected")
    data, labels = record[b"data"], record[b"labels"]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise DataError(f"{file}: 'data' must be uint8 of shape (n, 3072)")
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise DataError(f"{file}: 'labels' must be a list of whole numbers")
    return data, np.asarray(labels, np.int64)


class _RefusedError(pickle.UnpicklingError):
    """The pickle names something other than a numpy array."""


class _ArrayUnpickler(pickle.Unpickler):
    """Rebuilds numpy arrays of plain types; every other name is refused, so nothing in the file can run."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return sys.modules["numpy._core.multiarray"]._reconstruct
        if (module, name) == ("_codecs", "encode"):
            return str.encode  # how Python 3 writes bytes into an old pickle; encodes text only
        raise _RefusedError(f"it names {module}.{name}, which a data file must not; it was not executed")
