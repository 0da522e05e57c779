import numpy as np
import pytest
from act.models.image_files import ImageFiles
from act.models.image_set import Augmentation, DataError, ImageSet, join, judged_at_once


def _arrays(count: int, side: int = 4) -> ImageSet:
    return ImageSet(
        images=np.full((count, side, side, 3), count, np.uint8), labels=np.arange(count, dtype=np.int64) % 2
    )


def _files(names: list[str], side: int = 4) -> ImageSet:
    return ImageSet(images=ImageFiles(names, side), labels=np.zeros(len(names), np.int64))


def test_sets_in_memory_are_joined_in_order() -> None:
    both = join([_arrays(2), _arrays(3)])
    assert both.images[:][:, 0, 0, 0].tolist() == [2, 2, 3, 3, 3]
    assert both.labels.tolist() == [0, 1, 0, 1, 0]


def test_files_are_joined_and_chosen_without_being_opened() -> None:
    both = join([_files(["a.png", "b.png"]), _files(["c.png"])])
    assert both.images.shape == (3, 4, 4, 3)
    chosen = both.subset(np.array([2, 0]))
    assert isinstance(chosen.images, ImageFiles)
    assert chosen.images.files == ["c.png", "a.png"]


def test_sets_of_different_size_or_kind_are_not_joined() -> None:
    for sets in ([_arrays(2), _arrays(2, side=5)], [_arrays(2), _files(["a.png"])], []):
        with pytest.raises(DataError, match="cannot be joined"):
            join(sets)


@pytest.mark.parametrize(
    "values", [{"shift": -1}, {"crop_area": (0.0, 1.0)}, {"crop_area": (0.5, 1.1)}, {"crop_area": (0.9, 0.5)}]
)
def test_wrong_augmentations_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(DataError, match="must be"):
        Augmentation(**{"flip": False, "shift": 0, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("most", "side", "count"), [(500, 32, 500), (500, 96, 500), (500, 224, 91), (16, 224, 16), (500, 5000, 1)]
)
def test_fewer_large_images_are_judged_at_once(most: int, side: int, count: int) -> None:
    assert judged_at_once(most, side, side) == count
