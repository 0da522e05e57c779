"""Image folders: which files there are, and which class and part each belongs to.

Either ``train/``, ``val/`` and ``test/`` with one folder per class in each (``val`` decides, ``test`` judges in the
end; where one of the two is missing, the other is the test part), or one folder per class. A class is the folder's
name; numbers follow the sorted names. Folders within a class folder belong to it; links are followed, each folder is
read once. Hidden files are passed over; any other file that is no image is refused, since a data set with unknown
parts left out is a different one. Nothing is decoded here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .image_files import SUFFIXES, ImageFiles
from .image_set import DataError, ImageSet

_TRAIN, _SEARCH, _TEST = "train", "val", "test"
_PARTS = (_TRAIN, _SEARCH, _TEST)
_OTHER_NAMES = {"valid": _SEARCH, "validation": _SEARCH, "dev": _SEARCH, "eval": _TEST, "testing": _TEST}
_LITTER = ("thumbs.db", "desktop.ini")
_NAMED_IN_ERRORS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class FolderParts:
    """What a folder holds: one set still to be split (``test`` is ``None``), or parts, ``search`` perhaps missing.

    Attributes:
        train: Images to train on, or all images.
        search: Of ``val/``, where there is also ``test/``.
        test: Of ``test/``, or of ``val/`` where there is no other.
        class_names: Sorted names of the class folders.
        note: Where the parts come from, for people.
    """

    train: ImageSet
    search: ImageSet | None
    test: ImageSet | None
    class_names: tuple[str, ...]
    note: str


def load_images_folder(folder: Path, side: int) -> FolderParts:
    """Find the images of a folder.

    Args:
        folder: Laid out as the module says.
        side: Height and width that every image is brought to, in pixels.

    Raises:
        DataError: If the folder is missing or laid out otherwise, a class is empty or there is one only, the parts
            have different classes, or a file is no image.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: expected {_EXPECTED}")
    names = _Listing.of(folder).folders
    present = [part for part in _PARTS if part in names]
    other = next((name for name in names if name in _OTHER_NAMES), None)
    if _TRAIN in present and (len(present) > 1 or other is not None):
        if other is not None and _OTHER_NAMES[other] not in present:
            raise DataError(f"{folder / other}: the part must be named {_OTHER_NAMES[other]}/; rename the folder")
        return _parts(folder, present, side)
    if present and len(present) == len(names):
        raise DataError(
            f"{folder} holds {_words(present)} alone: expected {_EXPECTED}; to have one folder of classes split, "
            f"give that folder: images:{folder / present[0]}"
        )
    class_names, images = _class_folders(folder, side)
    return FolderParts(train=images, search=None, test=None, class_names=class_names, note="split by the seed")


_EXPECTED = "train/, val/ and test/ with one folder per class in each, or one folder per class"


def _parts(folder: Path, present: Sequence[str], side: int) -> FolderParts:
    found = {part: _class_folders(folder / part, side) for part in present}
    class_names, train = found[_TRAIN]
    for part, (names, _) in found.items():
        missing, foreign = sorted(set(class_names) - set(names)), sorted(set(names) - set(class_names))
        for problem, classes in (("lacks", missing), ("has, and train/ has not,", foreign)):
            if classes:
                raise DataError(f"{folder / part} {problem} the class {_few(classes)}: all parts need the same classes")
    last = found[present[-1]][1]
    if len(present) == len(_PARTS):
        note = "parts from train/, val/ and test/"
        return FolderParts(train=train, search=found[_SEARCH][1], test=last, class_names=class_names, note=note)
    note = f"search part held out of train/ by the seed, test part from {present[-1]}/"
    return FolderParts(train=train, search=None, test=last, class_names=class_names, note=note)


def _class_folders(folder: Path, side: int) -> tuple[tuple[str, ...], ImageSet]:
    """Names of the class folders in a folder, and the images in them by class."""
    listing = _Listing.of(folder)
    stray = [name for name in listing.files if _is_image(name)]
    if stray:
        raise DataError(
            f"{folder} holds images outside of class folders ({_few(stray)}): expected {_EXPECTED}; an image's class "
            "is the name of its folder"
        )
    names = listing.folders
    if len(names) < 2:
        what = f"one class folder only ({names[0]})" if names else "no class folders"
        raise DataError(f"{folder} holds {what}: at least two classes are needed; expected {_EXPECTED}")
    files = [_images_below(folder / name) for name in names]
    for name, paths in zip(names, files, strict=True):
        if not paths:
            raise DataError(f"class folder {folder / name} holds no images: fill or remove it")
    labels = np.repeat(np.arange(len(names), dtype=np.int64), [len(paths) for paths in files])
    everything = [path for paths in files for path in paths]
    return names, ImageSet(images=ImageFiles(everything, side), labels=labels)


def _images_below(folder: Path) -> list[str]:
    """Sorted paths of all images in a folder and the folders in it; a link back to a folder above is not followed."""
    seen = {os.path.realpath(above) for above in folder.absolute().parents}
    found: list[str] = []
    refused: list[str] = []
    pending = [folder]
    while pending:
        place = pending.pop()
        real = os.path.realpath(place)
        if real in seen:
            continue
        seen.add(real)
        listing = _Listing.of(place)
        # In reverse, since the last is taken first: a folder that links reach twice is read by its first name.
        pending += [place / name for name in reversed(listing.folders)]
        for name in listing.files:
            (found if _is_image(name) else refused).append(str(place / name))
        refused += [str(place / name) for name in listing.broken]
    if refused:
        raise DataError(
            f"class folder {folder} holds what is no image: {_few(sorted(refused))}; remove it, or convert it to one "
            f"of {' '.join(SUFFIXES)}"
        )
    return sorted(found)


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """Sorted names in a folder, links followed, hidden ones left out; ``broken``: neither file nor folder."""

    folders: tuple[str, ...]
    files: tuple[str, ...]
    broken: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> _Listing:
        kinds: dict[str, list[str]] = {"folders": [], "files": [], "broken": []}
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if not entry.name.startswith(".") and entry.name.lower() not in _LITTER:
                    kinds[_kind(entry)].append(entry.name)
        return cls(**{kind: tuple(names) for kind, names in kinds.items()})


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return "folders"
        return "files" if entry.is_file() else "broken"
    except OSError:  # a link to itself
        return "broken"


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _words(parts: Sequence[str]) -> str:
    return " and ".join(f"{part}/" for part in parts)


def _few(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_IN_ERRORS
    return ", ".join(names[:_NAMED_IN_ERRORS]) + (f" and {more} more" if more > 0 else "")
