from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from act.models.data import DataError, ImageSet, load_data


def _numbers(images: ImageSet) -> list[bytes]:
    return [image.tobytes() for image in images.images]


def test_digits_come_in_three_disjoint_parts_in_proportion() -> None:
    splits = load_data("digits")
    assert [len(part) for part in (splits.train, splits.search, splits.test)] == [1078, 270, 449]
    assert splits.describe() == "digits: 1,078 train, 270 search, 449 test images of 8×8×1, 10 classes, seed 0"
    assert splits.image_shape == (1, 8, 8)
    assert splits.num_classes == 10
    assert np.ptp(np.bincount(splits.search.labels)) <= 2
    assert int(splits.train.images.max()) == 16
    together = _numbers(splits.train) + _numbers(splits.search) + _numbers(splits.test)
    assert len(together) == 1797
    assert not splits.augmentation.flip
    values = splits.preprocessing.apply(splits.train.images)
    assert abs(float(values.mean())) < 0.05
    assert abs(float(values.std()) - 1) < 0.05


def test_the_seed_decides_the_parts() -> None:
    first, again, other = (load_data("digits", seed=seed) for seed in (0, 0, 1))
    assert _numbers(first.test) == _numbers(again.test)
    assert sorted(_numbers(first.test)) != sorted(_numbers(other.test))


def test_fewer_training_images_keep_the_proportion_and_the_other_parts() -> None:
    splits = load_data("digits", limit_train=100)
    assert np.ptp(np.bincount(splits.train.labels)) <= 2
    assert (len(splits.train), len(splits.search), len(splits.test)) == (100, 270, 449)
    assert len(load_data("digits", limit_train=10**6).train) == 1078


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("digit", "unknown data 'digit': did you mean 'digits'"),
        ("", "unknown data ''"),
        ("imagenet:x", "known data: digits, cifar10:DIR, npz:FILE, images:DIR"),
        ("folder/own.npz", "write 'npz:folder/own.npz'"),
        ("digits:somewhere", "write 'digits'"),
        ("cifar10", "write 'cifar10:DIR'"),
        ("npz:", "write 'npz:FILE'"),
        ("npz:no-such-file.npz", "there is no file no-such-file.npz"),
        ("cifar10:no-such-folder", "there is no folder no-such-folder"),
    ],
)
def test_wrong_specifications_are_refused(spec: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        load_data(spec)


def test_wrong_limits_and_seeds_are_refused() -> None:
    with pytest.raises(DataError, match="at least 1, but is 0"):
        load_data("digits", limit_train=0)
    with pytest.raises(DataError, match="at least 0, but is -1"):
        load_data("digits", seed=-1)
    with pytest.raises(DataError, match="one class only"):
        load_data("digits", limit_train=1)


def _save(folder: Path, **arrays: np.ndarray) -> str:
    np.savez(folder / "own.npz", **arrays)  # type: ignore[arg-type]
    return f"npz:{folder / 'own.npz'}"


def test_one_array_is_split_by_the_seed(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (200, 16, 24, 3), dtype=np.uint8)
    splits = load_data(_save(tmp_path, x=x, y=np.arange(200) % 4))
    assert [len(part) for part in (splits.train, splits.search, splits.test)] == [140, 30, 30]
    assert splits.image_shape == (3, 16, 24)
    assert splits.augmentation.shift == 2
    assert splits.preprocessing.channel_order == "RGB"
    values = splits.preprocessing.apply(splits.train.images)
    np.testing.assert_allclose(values.mean((0, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(values.std((0, 2, 3)), 1, atol=1e-3)


def test_given_parts_are_kept_and_a_missing_search_part_is_held_out(tmp_path: Path) -> None:
    x, y = np.zeros((100, 8, 8), np.uint8), np.arange(100) % 2
    arrays = {"x_train": x, "y_train": y, "x_test": x[:30], "y_test": y[:30]}
    splits = load_data(_save(tmp_path, **arrays))
    assert [len(part) for part in (splits.train, splits.search, splits.test)] == [90, 10, 30]
    assert splits.preprocessing.std == (0.01,)
    splits = load_data(_save(tmp_path, **arrays, x_search=x[:7], y_search=y[:7]))
    assert [len(part) for part in (splits.train, splits.search, splits.test)] == [100, 7, 30]


def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    x, y = np.zeros((100, 8, 8), np.uint8), np.arange(100) % 2
    with pytest.raises(DataError, match="of the test part have shape"):
        load_data(_save(tmp_path, x_train=x, y_train=y, x_test=x[:, :7], y_test=y))
    with pytest.raises(DataError, match=r"test part must lie in 0\.\.1, but lie in 0\.\.5"):
        load_data(_save(tmp_path, x_train=x, y_train=y, x_test=x[:2], y_test=y[:2] * 5))
    with pytest.raises(DataError, match="too few"):
        load_data(_save(tmp_path, x=x[:3], y=y[:3]))


def test_empty_parts_and_mismatched_sets_are_refused() -> None:
    splits = load_data("digits")
    with pytest.raises(DataError, match="the search part is empty"):
        replace(splits, search=splits.search.subset(np.zeros(0, np.int64)))
    with pytest.raises(DataError, match="1078 images, but 1 labels"):
        ImageSet(images=splits.train.images, labels=splits.train.labels[:1])
    with pytest.raises(DataError, match="must be uint8"):
        ImageSet(images=splits.train.images.astype(np.float32), labels=splits.train.labels)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="must be int64"):
        ImageSet(images=splits.train.images, labels=splits.train.labels.astype(np.uint8))  # type: ignore[arg-type]
