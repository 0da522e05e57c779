"""Decoding of single files: sizes, modes, orientation, damage."""

from pathlib import Path

import numpy as np
import pytest
from act.models.image_files import ImageFiles
from act.models.image_set import DataError
from PIL import Image

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def _save(folder: Path, image: Image.Image, name: str = "image.png", **options: object) -> str:
    path = folder / name
    image.save(path, **options)
    return str(path)


def _decoded(file: str, side: int) -> np.ndarray:
    return ImageFiles([file], side)[:][0]


def _quarters(side: int = 32) -> Image.Image:
    """Red above green on the left, blue above black on the right."""
    image = Image.new("RGB", (side, side))
    half = side // 2
    for color, place in ((RED, (0, 0)), (BLUE, (half, 0)), (GREEN, (0, half))):
        image.paste(color, (*place, place[0] + half, place[1] + half))
    return image


def _corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(int(v) for v in pixels[row, column]) for row in (0, -1) for column in (0, -1)]


def test_an_image_of_the_size_comes_out_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(_decoded(_save(tmp_path, Image.fromarray(pixels)), 32), pixels)


def test_the_central_square_is_taken_and_resized(tmp_path: Path) -> None:
    image = Image.new("RGB", (90, 30), GREEN)
    image.paste(RED, (30, 0, 60, 30))
    pixels = _decoded(_save(tmp_path, image), 16)
    assert pixels.shape == (16, 16, 3)
    assert (pixels[:, 2:-2] == RED).all()


def test_large_sizes_are_cropped_as_on_imagenet(tmp_path: Path) -> None:
    image = Image.new("RGB", (256, 320), GREEN)
    image.paste(RED, (16, 48, 240, 272))  # the central 224 x 224
    pixels = _decoded(_save(tmp_path, image), 224)
    assert (pixels == RED).all()


def test_shrinking_averages(tmp_path: Path) -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    pixels = _decoded(_save(tmp_path, Image.fromarray(board.astype(np.uint8))), 8)
    assert np.abs(pixels[1:-1, 1:-1].astype(int) - 128).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    upright = _quarters().resize((48, 32))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = _decoded(_save(tmp_path, stored, exif=exif), 16)
    assert _corners(pixels) == [RED, BLUE, GREEN, (0, 0, 0)]


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("L", "x.png"),
        ("L", "x.jpg"),
        ("1", "x.png"),
        ("P", "x.gif"),
        ("P", "x.png"),
        ("LA", "x.png"),
        ("RGBA", "x.png"),
        ("RGBA", "x.webp"),
        ("CMYK", "x.jpg"),
        ("CMYK", "x.tif"),
        ("YCbCr", "x.jpg"),
        ("I;16", "x.png"),
        ("I;16", "x.tiff"),
        ("RGB", "x.bmp"),
        ("RGB", "x.ppm"),
        ("L", "x.pgm"),
    ],
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, name: str) -> None:
    bright, dark = Image.new("L", (8, 16), 255), Image.new("L", (8, 16), 0)
    whole = Image.new("L", (16, 16))
    whole.paste(bright, (0, 0))
    whole.paste(dark, (8, 0))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(whole).astype(np.uint16) * 257)
    elif mode in ("CMYK", "YCbCr", "RGBA", "P"):
        image = whole.convert("RGB").convert(mode)
    else:
        image = whole.convert(mode)
    pixels = _decoded(_save(tmp_path, image, name), 16).astype(int)
    assert (pixels[:, :6] >= 240).all() and (pixels[:, 10:] <= 15).all()


def test_a_palette_with_transparency_keeps_its_colors(tmp_path: Path) -> None:
    image = _quarters().quantize(4)
    pixels = _decoded(_save(tmp_path, image, transparency=bytes([0, 128, 255, 255])), 32)
    np.testing.assert_array_equal(pixels, np.asarray(_quarters()))


def test_32_bit_values_are_refused_by_name(tmp_path: Path) -> None:
    file = _save(tmp_path, Image.fromarray(np.ones((8, 8), np.float32)), "deep.tif")
    with pytest.raises(DataError, match=r"deep\.tif cannot be used: .*mode F"):
        _decoded(file, 8)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = Path(_save(tmp_path, Image.effect_noise((64, 64), 50), "whole.jpg")).read_bytes()
    damaged = {"cut.jpg": whole[: len(whole) // 2], "empty.png": b"", "text.png": b"no image", "cut2.jpg": whole[:100]}
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} cannot be decoded"):
            _decoded(str(tmp_path / name), 16)
    with pytest.raises(DataError, match=r"gone\.png cannot be decoded"):
        _decoded(str(tmp_path / "gone.png"), 16)


def test_indexing_follows_numpy(tmp_path: Path) -> None:
    files = [_save(tmp_path, Image.new("RGB", (8, 8), (level, 0, 0)), f"{level}.png") for level in range(20)]
    images = ImageFiles(files, 8)
    assert (len(images), images.ndim, images.shape, images.dtype) == (20, 4, (20, 8, 8, 3), np.uint8)
    assert images[3:6][:, 0, 0, 0].tolist() == [3, 4, 5]
    assert images[np.array([19, 0, 7])][:, 0, 0, 0].tolist() == [19, 0, 7]
    assert images[15:100].shape == (5, 8, 8, 3)
    assert images[:0].shape == (0, 8, 8, 3)
    assert images.select(np.array([4, 2]))[:][:, 0, 0, 0].tolist() == [4, 2]
    assert images.resized(5).shape == (20, 5, 5, 3)
    with pytest.raises(DataError, match="at least 1 pixel"):
        images.resized(0)


def test_random_crops_follow_from_the_draws_alone(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (100, 200, 3))
    images = ImageFiles([_save(tmp_path, Image.fromarray(np.ascontiguousarray(ramp)))] * 40, 32)
    draws = np.random.default_rng(0).random((40, 4))
    crops = images.random_crops(np.arange(40), draws, (0.25, 1.0))
    np.testing.assert_array_equal(crops, images.random_crops(np.arange(40), draws, (0.25, 1.0)))
    np.testing.assert_array_equal(crops[[7]], images.random_crops(np.array([7]), draws[[7]], (0.25, 1.0)))
    widths = crops[:, 0, -1, 0].astype(int) - crops[:, 0, 0, 0] + 4
    shares = widths**2 * 1.0 / (200 * 100)  # of a crop as high as wide
    assert 0.25 * 0.7 < shares.min() < 0.45 and shares.max() > 0.8
    assert len(np.unique(crops[:, 0, 0, 0])) > 10


def test_the_whole_image_is_a_crop_too(tmp_path: Path) -> None:
    file = _save(tmp_path, _quarters())
    images = ImageFiles([file], 32)
    draws = np.array([[0.5, 0.5, 0.3, 0.9]])
    np.testing.assert_array_equal(images.random_crops(np.array([0]), draws, (1.0, 1.0)), images[:])


def test_photographs_decoded_at_a_fraction_look_the_same(tmp_path: Path) -> None:
    rows, columns = np.indices((1200, 1600))
    smooth = np.stack([rows / 5 % 256, columns / 7 % 256, (rows + columns) / 12 % 256], axis=2).astype(np.uint8)
    image = Image.fromarray(smooth)
    pixels = _decoded(_save(tmp_path, image, "large.jpg", quality=95), 32).astype(int)
    exact = _decoded(_save(tmp_path, image, "large.png"), 32).astype(int)
    assert np.abs(pixels - exact).mean() < 2.5


def test_thin_images_do_not_fail(tmp_path: Path) -> None:
    for size in ((1, 1), (1, 500), (500, 1), (3, 2)):
        images = ImageFiles([_save(tmp_path, Image.new("RGB", size, RED))], 96)
        assert (images[:] == RED).all()
        crop = images.random_crops(np.array([0]), np.array([[0.0, 0.99, 0.99, 0.99]]), (0.1, 1.0))
        assert (crop == RED).all()
