import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from act.models.preprocessing import Preprocessing, PreprocessingError, resize_bilinear

RECORD = Preprocessing(height=4, width=6, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), class_names=("a", "<b>"))


def _images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_values_are_scaled_and_normalised_per_channel() -> None:
    images = _images(3, 4, 6, 3)
    out = RECORD.apply(images)
    assert out.shape == (3, 3, 4, 6)
    assert out.dtype == np.float32
    assert out.flags["C_CONTIGUOUS"]
    expected = (images / 255 - np.array(RECORD.mean)) / np.array(RECORD.std)
    np.testing.assert_allclose(out, expected.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6)


def test_more_images_than_one_chunk_and_none_at_all() -> None:
    images = _images(1030, 4, 6, 3)
    out = RECORD.apply(images)
    np.testing.assert_array_equal(out[1024:], RECORD.apply(images[1024:]))
    assert RECORD.apply(images[:0]).shape == (0, 3, 4, 6)


def test_bgr_reverses_the_channels_before_the_mean() -> None:
    images = _images(1, 4, 6, 3)
    out = replace(RECORD, channel_order="BGR").apply(images)
    np.testing.assert_array_equal(out, RECORD.apply(images[..., ::-1]))


def test_gray_has_one_channel_and_its_own_scale() -> None:
    record = Preprocessing(height=2, width=2, channel_order="GRAY", scale=1 / 16, mean=(0.5,), std=(0.25,))
    out = record.apply(np.full((1, 2, 2, 1), 16, np.uint8))
    assert out.tolist() == [[[[2.0, 2.0], [2.0, 2.0]]]]
    assert record.input_shape == (1, 2, 2)


@pytest.mark.parametrize("size", [(3, 5), (7, 9), (14, 4), (20, 31)])
def test_resizing_is_that_of_torch(size: tuple[int, int]) -> None:
    images = _images(2, 7, 9, 3).astype(np.float32)
    theirs = F.interpolate(torch.from_numpy(images).permute(0, 3, 1, 2), size, mode="bilinear", antialias=True)
    np.testing.assert_allclose(resize_bilinear(images, *size).transpose(0, 3, 1, 2), theirs.numpy(), atol=1e-3)
    resized = replace(RECORD, resize="bilinear").apply(_images(2, 7, 9, 3))
    assert resized.shape == (2, 3, 4, 6)


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (np.zeros((1, 8, 8, 3), np.uint8), "takes images of 4×6 pixels, but these have 8×8"),
        (np.zeros((1, 4, 6, 1), np.uint8), "takes 3 channels"),
        (np.zeros((1, 4, 6, 3), np.float32), "must be uint8"),
        (np.zeros((4, 6, 3), np.uint8), "shape"),
    ],
)
def test_images_that_do_not_fit_are_refused(images: np.ndarray, reason: str) -> None:
    with pytest.raises(PreprocessingError, match=reason):
        RECORD.apply(images)


def test_images_without_pixels_are_refused() -> None:
    with pytest.raises(PreprocessingError, match="no pixels"):
        replace(RECORD, resize="bilinear").apply(np.zeros((1, 0, 4, 3), np.uint8))


def test_record_survives_json() -> None:
    assert Preprocessing.from_dict(json.loads(json.dumps(RECORD.to_dict()))) == RECORD


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"height": 0}, "height must be a whole number"),
        ({"width": 6.0}, "width must be a whole number"),
        ({"width": True}, "width must be a whole number"),
        ({"height": 10**9}, "1..16384"),
        ({"resize": "bilinaer"}, "did you mean 'bilinear'"),
        ({"resize": []}, "unknown resize"),
        ({"channel_order": "RBG"}, "unknown channel order"),
        ({"channel_order": ["RGB"]}, "unknown channel order"),
        ({"channel_order": "GRAY"}, "1 values for GRAY"),
        ({"scale": 0}, "positive"),
        ({"scale": "1/255"}, "positive"),
        ({"mean": [0.1, 0.2]}, "3 values"),
        ({"mean": "0.1"}, "finite numbers"),
        ({"mean": [0.1, 0.2, None]}, "finite numbers"),
        ({"std": [0.1, 0.2, 0.0]}, "positive"),
        ({"std": [0.1, 0.2, float("nan")]}, "finite"),
        ({"std": [0.1, 0.2, 10**400]}, "finite"),
        ({"class_names": [1, 2]}, "strings"),
        ({"class_names": "cat"}, "strings"),
        ({"sclae": 1.0}, "did you mean 'scale'"),
    ],
)
def test_wrong_records_are_refused(change: dict[str, object], reason: str) -> None:
    with pytest.raises(PreprocessingError, match=reason):
        Preprocessing.from_dict({**RECORD.to_dict(), **change})


def test_incomplete_records_are_refused() -> None:
    record = RECORD.to_dict()
    del record["scale"]
    with pytest.raises(PreprocessingError, match="needs scale"):
        Preprocessing.from_dict(record)
    with pytest.raises(PreprocessingError, match="must be an object"):
        Preprocessing.from_dict(None)
