import numpy as np
import pytest
from act.models.image_set import DataError, ImageSet
from act.models.splitting import hold_out, split_by_shares, stratified_parts

LABELS = np.repeat(np.arange(3), (50, 30, 20)).astype(np.int64)


def _images(labels: np.ndarray) -> ImageSet:
    """Images whose single pixel is their number."""
    return ImageSet(images=np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1), labels=labels)


def test_parts_are_disjoint_and_in_proportion() -> None:
    parts = stratified_parts(LABELS, (60, 10, 30), seed=0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    for part, share in zip(parts, (0.6, 0.1, 0.3), strict=True):
        counts = np.bincount(LABELS[part], minlength=3)
        assert np.all(np.abs(counts - share * np.array([50, 30, 20])) <= 1)


def test_the_seed_alone_decides() -> None:
    first, again, other = (stratified_parts(LABELS, (60, 40), seed=seed)[0] for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert sorted(first.tolist()) != sorted(other.tolist())


def test_order_within_a_part_mixes_the_classes() -> None:
    (part,) = stratified_parts(LABELS, (100,), seed=0)
    assert np.count_nonzero(np.diff(LABELS[part])) > 30


def test_images_stay_with_their_labels() -> None:
    train, search, test = split_by_shares(_images(LABELS), (0.60, 0.15, 0.25), seed=3)
    assert (len(train), len(search), len(test)) == (60, 15, 25)
    for part in (train, search, test):
        np.testing.assert_array_equal(LABELS[part.images.ravel()], part.labels)


def test_held_out_images_are_no_longer_in_the_rest() -> None:
    rest, held = hold_out(_images(LABELS), 10, seed=0)
    assert (len(rest), len(held)) == (90, 10)
    assert not set(rest.images.ravel().tolist()) & set(held.images.ravel().tolist())


def test_empty_parts_are_refused() -> None:
    with pytest.raises(DataError, match="too few"):
        split_by_shares(_images(LABELS[:2]), (0.70, 0.15, 0.15), seed=0)
    for count in (0, 100, 200):
        with pytest.raises(DataError, match="too few"):
            hold_out(_images(LABELS), count, seed=0)
