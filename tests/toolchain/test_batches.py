"""Batches of image files equal those of the same images in memory; decoding ahead changes nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from act.models.data import Augmentation, DataError, DataSplits, ImageSet, load_data
from act.models.image_files import ImageFiles
from act.toolchain.batches import Batches
from PIL import Image

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSplits:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(40):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (30, 24, 3), dtype=np.uint8)).save(path)
    return load_data(f"images:{folder}", image_size=16)


def _in_memory(images: ImageSet) -> ImageSet:
    return ImageSet(images=images.images[:], labels=images.labels)


def _epoch(
    batches: Batches, size: int, augmentation: Augmentation, seed: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [(part.images, part.labels) for (part,) in batches.shuffled(size, augmentation, generator)]


def _equal(found: list[tuple[torch.Tensor, ...]], expected: list[tuple[torch.Tensor, ...]]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(torch.equal(a, b) for some, other in pairs for a, b in zip(some, other, strict=True))


def test_files_in_order_are_the_images_in_order(data: DataSplits) -> None:
    lazy = Batches(data.train, data.preprocessing, CPU)
    resident = Batches(_in_memory(data.train), data.preprocessing, CPU)
    for limit in (None, 10, 1000):
        assert _equal(list(lazy.in_order(8, limit=limit)), list(resident.in_order(8, limit=limit)))
    expected = torch.from_numpy(data.preprocessing.apply(data.train.images[:]))
    assert torch.allclose(torch.cat([images for images, _ in lazy.in_order(8)]), expected, atol=1e-5)


def test_the_first_images_are_kept(data: DataSplits, monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = Batches(data.train, data.preprocessing, CPU)
    expected = list(lazy.in_order(4, limit=10))
    first, more = lazy.first(10), lazy.first(1000)
    monkeypatch.setattr(ImageFiles, "_decode", None)  # nothing is decoded again
    assert len(first) == 10 and len(more) == len(lazy)
    for _ in range(2):
        assert _equal(list(first.in_order(4)), expected)
    assert _equal(list(first.in_order(4, limit=6))[:1], expected[:1])


def test_flips_and_shifts_without_crops_are_those_of_images_in_memory(data: DataSplits) -> None:
    augmentation = Augmentation(flip=True, shift=0)
    lazy = Batches(data.train, data.preprocessing, CPU)
    images = torch.cat([x for x, _ in _epoch(lazy, 8, augmentation, 1)])
    order = torch.randperm(28, generator=torch.Generator().manual_seed(1))
    originals = torch.cat([x for x, _ in lazy.in_order(8)])[order][: len(images)]
    same = (images == originals).flatten(1).all(1)
    mirrored = (images == originals.flip(3)).flatten(1).all(1)
    assert (same | mirrored).all() and same.any() and mirrored.any()


def test_an_epoch_follows_from_its_seed_whatever_the_threads_do(data: DataSplits) -> None:
    lazy = Batches(data.train, data.preprocessing, CPU)
    first, again, other = (_epoch(lazy, 9, data.augmentation, seed) for seed in (1, 1, 2))
    assert _equal(first, again)
    assert [len(labels) for _, labels in first] == [9, 9, 9]  # the 28th alone is left out
    assert not _equal(first, other)
    assert first[0][0].is_contiguous(memory_format=torch.channels_last)


def test_an_epoch_may_be_left_early(data: DataSplits) -> None:
    lazy = Batches(data.train, data.preprocessing, CPU)
    images, _ = next(lazy.in_order(4))
    assert images.shape == (4, 3, 16, 16)
    next(lazy.shuffled(4, data.augmentation, torch.Generator().manual_seed(0)))


def test_a_damaged_file_is_named_when_its_batch_is_due(data: DataSplits, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    files = [*data.train.images.files[:5], str(tmp_path / "cut.png")]  # type: ignore[union-attr]
    images = ImageSet(images=ImageFiles(files, 16), labels=np.zeros(6, np.int64))
    batches = Batches(images, data.preprocessing, CPU).in_order(5)
    next(batches)
    with pytest.raises(DataError, match=r"cut\.png cannot be decoded"):
        next(batches)


def test_images_in_memory_cannot_be_cropped(data: DataSplits) -> None:
    resident = Batches(_in_memory(data.train), data.preprocessing, CPU)
    with pytest.raises(DataError, match="images:DIR"):
        next(resident.shuffled(8, data.augmentation, torch.Generator()))


def test_another_size_is_refused_with_the_flag_that_changes_it(data: DataSplits) -> None:
    with pytest.raises(DataError, match=r"16x16.*expects 20x20.*--image-size"):
        Batches(data.train, data.resized(20).preprocessing, CPU)


def test_batches_of_images_in_memory_did_not_change() -> None:
    """Figures of runs depend on every random number: these are of the version before image files."""
    digits = load_data("digits")
    batches = Batches(digits.train, digits.preprocessing, CPU)
    generator = torch.Generator().manual_seed(5)
    order = torch.randperm(len(digits.train), generator=generator)
    pixels = torch.from_numpy(digits.train.images[:]).permute(0, 3, 1, 2)
    for number, (images, labels) in enumerate(_epoch(batches, 100, Augmentation(flip=True, shift=0), 5)):
        part = order[100 * number : 100 * number + 100]
        mirror = torch.rand(len(part), generator=generator) < 0.5
        expected = torch.where(mirror.view(-1, 1, 1, 1), pixels[part].flip(3), pixels[part]).float()
        mean, std = torch.tensor([0.3053]), torch.tensor([0.3760])
        assert torch.equal(images, (expected * digits.preprocessing.scale - mean) / std)
        assert torch.equal(labels, torch.from_numpy(digits.train.labels)[part])
