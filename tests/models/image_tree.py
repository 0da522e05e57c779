"""Small image files in folders, for the tests of `images:DIR`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("blue", "green", "red")


def write_image(
    path: Path, color: Sequence[int] = (255, 0, 0), size: tuple[int, int] = (24, 20), seed: int = 0
) -> None:
    """One noisy image of a color; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 60, (size[1], size[0], 3))
    Image.fromarray(np.clip(np.asarray(color) * 0.7 + noise, 0, 255).astype(np.uint8)).save(path)


def write_classes(folder: Path, count: int, classes: Sequence[str] = CLASSES) -> Path:
    """`count` images for each class, of a color that belongs to the class; returns `folder`."""
    for index, name in enumerate(classes):
        color = [0, 0, 0]
        color[2 - index % 3] = 255
        for number in range(count):
            write_image(folder / name / f"{number:03}.png", color, seed=1000 * index + number)
    return folder


def write_parts(folder: Path, counts: dict[str, int], classes: Sequence[str] = CLASSES) -> Path:
    """Folders of parts with so many images a class; returns `folder`."""
    for part, count in counts.items():
        write_classes(folder / part, count, classes)
    return folder
