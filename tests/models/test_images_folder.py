"""Which files of a folder are taken, for which class and part."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from act.models.data import DataSplits, load_data
from act.models.image_files import ImageFiles
from act.models.image_set import DataError, ImageSet

from .image_tree import CLASSES, write_classes, write_image, write_parts


def _load(folder: Path, **options: int) -> DataSplits:
    return load_data(f"images:{folder}", **{"image_size": 16, **options})  # type: ignore[arg-type]


def _files(images: ImageSet) -> list[str]:
    assert isinstance(images.images, ImageFiles)
    return images.images.files


def _class_of(splits: DataSplits, part: ImageSet) -> bool:
    """Whether every label is that of the class folder in the file's path."""
    return all(
        splits.class_names[label] in Path(file).parts for file, label in zip(_files(part), part.labels, strict=True)
    )


def test_parts_are_taken_from_their_folders(tmp_path: Path) -> None:
    splits = _load(write_parts(tmp_path, {"train": 5, "val": 3, "test": 2}))
    for part, images, count in (("train", splits.train, 15), ("val", splits.search, 9), ("test", splits.test, 6)):
        assert len(images) == count
        assert all(f"/{part}/" in file for file in _files(images))
        assert _class_of(splits, images)
    assert splits.class_names == CLASSES
    assert splits.image_shape == (3, 16, 16)
    assert splits.describe() == (
        f"images:{tmp_path}: 15 train, 9 search, 6 test images of 16×16×3, 3 classes, seed 0; parts from train/, val/ "
        "and test/"
    )
    assert splits.preprocessing.input_shape == (3, 16, 16)
    assert splits.preprocessing.mean == (0.485, 0.456, 0.406)
    assert splits.preprocessing.class_names == CLASSES
    assert splits.augmentation.flip and splits.augmentation.crop_area is not None


def test_the_colors_arrive_with_their_labels(tmp_path: Path) -> None:
    splits = _load(write_parts(tmp_path, {"train": 3, "val": 1, "test": 1}))
    brightest = splits.train.images[:].reshape(9, -1, 3).mean(1).argmax(1)
    assert [CLASSES[::-1][channel] for channel in brightest] == [CLASSES[label] for label in splits.train.labels]


def test_the_first_few_of_a_part_stand_for_all_classes(tmp_path: Path) -> None:
    splits = _load(write_parts(tmp_path, {"train": 20, "val": 10, "test": 10}))
    for part in (splits.train, splits.search, splits.test):
        assert len(set(part.labels[:12].tolist())) == 3


@pytest.mark.parametrize("last", ["val", "test"])
def test_where_one_part_is_missing_the_search_part_is_held_out(tmp_path: Path, last: str) -> None:
    splits = _load(write_parts(tmp_path, {"train": 10, last: 2}))
    assert (len(splits.train), len(splits.search), len(splits.test)) == (27, 3, 6)
    assert all("/train/" in file for file in _files(splits.search))
    assert not set(_files(splits.search)) & set(_files(splits.train))
    assert f"held out of train/ by the seed, test part from {last}/" in splits.describe()


def test_one_tree_is_split_by_the_seed_in_proportion(tmp_path: Path) -> None:
    write_classes(tmp_path, 20)
    splits, again, other = _load(tmp_path), _load(tmp_path), _load(tmp_path, seed=1)
    assert (len(splits.train), len(splits.search), len(splits.test)) == (42, 9, 9)
    assert np.bincount(splits.test.labels).tolist() == [3, 3, 3]
    together = _files(splits.train) + _files(splits.search) + _files(splits.test)
    assert len(set(together)) == 60
    assert _files(splits.test) == _files(again.test)
    assert set(_files(splits.test)) != set(_files(other.test))
    assert "seed 0; split by the seed" in splits.describe()
    assert _class_of(splits, splits.train)
    assert len(_load(tmp_path, limit_train=6).train) == 6


def test_a_class_may_be_named_like_a_part(tmp_path: Path) -> None:
    splits = _load(write_classes(tmp_path, 10, ("boat", "car", "train")))
    assert splits.class_names == ("boat", "car", "train")


def test_folders_within_a_class_belong_to_it_and_hidden_files_do_not(tmp_path: Path) -> None:
    write_classes(tmp_path, 10, ("a", "b"))
    write_image(tmp_path / "a" / "more" / "deep" / "x.JPG")
    write_image(tmp_path / "a" / ".cache" / "y.png")
    for name in ("a/.DS_Store", "a/Thumbs.db", "README.txt"):
        (tmp_path / name).write_bytes(b"text")
    splits = _load(tmp_path)
    together = _files(splits.train) + _files(splits.search) + _files(splits.test)
    assert len(together) == 21
    assert str(tmp_path / "a" / "more" / "deep" / "x.JPG") in together


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", write_classes(tmp_path / "elsewhere", 10, ("b",))
    write_classes(data, 10, ("a",))
    (data / "b").symlink_to(elsewhere / "b", target_is_directory=True)
    (data / "a" / "up").symlink_to(data, target_is_directory=True)
    (data / "a" / "self").symlink_to(data / "a", target_is_directory=True)
    (data / "a" / "sub").mkdir()
    (data / "a" / "sub" / "again").symlink_to(data / "a", target_is_directory=True)
    splits = _load(data)
    assert splits.class_names == ("a", "b")
    assert len(splits.train) + len(splits.search) + len(splits.test) == 20


def test_broken_links_are_named(tmp_path: Path) -> None:
    write_classes(tmp_path, 2)
    (tmp_path / "red" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "red" / "round.png").symlink_to(tmp_path / "red" / "round.png")
    with pytest.raises(DataError, match=r"red/lost\.png.*red/round\.png"):
        _load(tmp_path)


def test_other_files_in_a_class_are_refused_by_name(tmp_path: Path) -> None:
    write_classes(tmp_path, 2)
    for number in range(5):
        (tmp_path / "red" / f"{number}.txt").write_text("notes")
    with pytest.raises(DataError, match=r"0\.txt.*2\.txt and 2 more; remove it, or convert it to one of \.bmp"):
        _load(tmp_path)


def test_empty_and_missing_classes_are_named(tmp_path: Path) -> None:
    write_parts(tmp_path, {"train": 2, "val": 2, "test": 2})
    (tmp_path / "val" / "yellow").mkdir()
    with pytest.raises(DataError, match="val/yellow holds no images"):
        _load(tmp_path)
    write_image(tmp_path / "val" / "yellow" / "x.png")
    with pytest.raises(DataError, match=r"val has, and train/ has not, the class yellow: .* same classes"):
        _load(tmp_path)
    shutil.rmtree(tmp_path / "val" / "yellow")
    shutil.rmtree(tmp_path / "test" / "red")
    with pytest.raises(DataError, match="test lacks the class red"):
        _load(tmp_path)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["a/x.png"], "one class folder only"),
        (["x.png"], r"images outside of class folders \(x\.png\)"),
        (["a/x.png", "b/x.png", "y.jpg"], "images outside of class folders"),
        (["notes.txt"], "no class folders"),
        (["train/a/x.png", "train/b/x.png"], "holds train/ alone: .*images:.*/train"),
        (["val/a/x.png", "test/a/x.png"], "holds val/ and test/ alone"),
        (["train/a/x.png", "train/b/x.png", "valid/a/x.png", "valid/b/x.png"], "valid: the part must be named val/"),
        (["train/a/x.png", "val/a/x.png", "test/a/x.png"], "one class folder only"),
        (["train/x.png", "val/a/x.png", "val/b/x.png"], "images outside of class folders"),
        (["a/x.png", "b/x.png"], "too few to split"),
    ],
)
def test_other_layouts_are_refused(tmp_path: Path, files: list[str], reason: str) -> None:
    for file in files:
        if file.endswith(".txt"):
            (tmp_path / file).write_text("text")
        else:
            write_image(tmp_path / file)
    with pytest.raises(DataError, match=reason):
        _load(tmp_path)


def test_a_missing_folder_and_wrong_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        _load(tmp_path / "nowhere")
    write_classes(tmp_path, 10)
    with pytest.raises(DataError, match="at least 1 pixel, but is 0"):
        _load(tmp_path, image_size=0)
    with pytest.raises(DataError, match=f"write 'images:{tmp_path}'"):
        load_data(str(tmp_path))
    with pytest.raises(DataError, match=r"image size \(32\) is for images:DIR"):
        load_data("digits", image_size=32)


def test_the_size_may_change_afterwards(tmp_path: Path) -> None:
    splits = _load(write_classes(tmp_path, 10))
    larger = splits.resized(20)
    assert larger.image_shape == larger.preprocessing.input_shape == (3, 20, 20)
    assert _files(larger.test) == _files(splits.test)
    digits = load_data("digits")
    assert digits.resized(16) is digits


def test_the_order_of_the_file_system_does_not_matter(tmp_path: Path) -> None:
    write_classes(tmp_path / "one", 10)
    (tmp_path / "two").mkdir()
    for file in sorted((tmp_path / "one").rglob("*.png"), reverse=True):
        target = tmp_path / "two" / file.relative_to(tmp_path / "one")
        target.parent.mkdir(exist_ok=True)
        os.link(file, target)
    one, two = _load(tmp_path / "one"), _load(tmp_path / "two")
    assert [Path(file).name for file in _files(one.train)] == [Path(file).name for file in _files(two.train)]
