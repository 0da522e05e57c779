import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from act.models.cifar10 import load_cifar10
from act.models.data import load_data
from act.models.image_set import DataError

_NAMES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


class _OldPickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes text and bytes as Python 2 did, which wrote the files that torchvision downloads."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]  # noqa: RUF012

    def _save_text(self, value: str | bytes) -> None:
        content = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(b"T" + len(content).to_bytes(4, "little") + content)

    dispatch[str] = _save_text
    dispatch[bytes] = _save_text


def _batch(number: int, count: int = 20) -> dict[str, Any]:
    generator = np.random.default_rng(number)
    return {"data": generator.integers(0, 256, (count, 3072), dtype=np.uint8), "labels": [i % 10 for i in range(count)]}


def _write_old(file: Path, record: object) -> None:
    with file.open("wb") as stream:
        _OldPickler(stream, protocol=2).dump(record)
    file.write_bytes(file.read_bytes().replace(b"numpy._core.", b"numpy.core."))


@pytest.fixture
def batches(tmp_path: Path) -> Path:
    """A folder as torchvision leaves it."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for number, name in enumerate(_NAMES):
        _write_old(folder / name, _batch(number))
    return folder


@pytest.mark.parametrize("inside", [True, False])
def test_folder_of_torchvision_is_read(batches: Path, inside: bool) -> None:
    whole, test = load_cifar10(batches if inside else batches.parent, download=False)
    assert whole.images.shape == (100, 32, 32, 3)
    planes = _batch(5)["data"][3].reshape(3, 32, 32)
    np.testing.assert_array_equal(test.images[3], planes.transpose(1, 2, 0))
    assert test.labels.tolist() == [i % 10 for i in range(20)]


def test_batch_written_by_a_newer_python_is_read_too(batches: Path) -> None:
    record = {key.encode(): value for key, value in _batch(5).items()}
    (batches / "test_batch").write_bytes(pickle.dumps(record, protocol=2))
    assert len(load_cifar10(batches, download=False)[1]) == 20


class _Bomb:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return __import__("os").system, (f"touch {self.place}",)


def test_pickle_that_names_code_is_refused_and_not_executed(batches: Path, tmp_path: Path) -> None:
    (batches / "test_batch").write_bytes(pickle.dumps({b"data": _Bomb(tmp_path / "executed"), b"labels": []}, 2))
    with pytest.raises(DataError, match=r"names \w+\.system, .* it was not executed"):
        load_cifar10(batches, download=False)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ([1, 2], "not a batch"),
        ({b"data": 3, b"labels": []}, "uint8 of shape"),
        ({b"data": np.zeros((2, 3072), np.float32), b"labels": [0, 1]}, "uint8 of shape"),
        ({b"data": np.zeros((2, 3000), np.uint8), b"labels": [0, 1]}, "uint8 of shape"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, "2 images, but 1 labels"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]}, "0..9"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, -1]}, "lie in"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": "ab"}, "list of whole numbers"),
    ],
)
def test_wrong_batches_are_refused(batches: Path, record: object, reason: str) -> None:
    (batches / "test_batch").write_bytes(pickle.dumps(record, protocol=2))
    with pytest.raises(DataError, match=reason):
        load_cifar10(batches, download=False)


def test_missing_and_short_batches_are_refused(batches: Path) -> None:
    content = (batches / "data_batch_3").read_bytes()
    (batches / "data_batch_3").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="data_batch_3 is damaged"):
        load_cifar10(batches, download=False)
    (batches / "data_batch_3").unlink()
    with pytest.raises(DataError, match="data_batch_3 is missing"):
        load_cifar10(batches, download=False)


def test_missing_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        load_cifar10(tmp_path / "nothing", download=False)
    with pytest.raises(DataError, match="does not hold CIFAR-10"):
        load_cifar10(tmp_path, download=False)


def _write_npz(folder: Path, count: int, size: int = 32) -> None:
    images = np.zeros((count, size, size, 3), np.uint8)
    for name in ("test", *(f"train-{number}" for number in range(5))):
        np.savez(folder / f"{name}.npz", x=images, y=np.arange(count) % 10)


def test_npz_files_are_read_and_their_shape_is_checked(tmp_path: Path) -> None:
    _write_npz(tmp_path, 20)
    whole, test = load_cifar10(tmp_path, download=False)
    assert (len(whole), len(test)) == (100, 20)
    _write_npz(tmp_path, 20, size=28)
    with pytest.raises(DataError, match=r"have shape \(32, 32, 3\)"):
        load_cifar10(tmp_path, download=False)
    _write_npz(tmp_path, 20)
    np.savez(tmp_path / "test.npz", images=np.zeros(3))
    with pytest.raises(DataError, match="arrays x and y, but holds images"):
        load_cifar10(tmp_path, download=False)
    (tmp_path / "train-2.npz").unlink()
    with pytest.raises(DataError, match=r"there is no file .*train-2\.npz"):
        load_cifar10(tmp_path, download=False)


def test_too_few_images_for_a_search_part_are_refused(tmp_path: Path) -> None:
    _write_npz(tmp_path, 20)
    with pytest.raises(DataError, match="100 training images are too few to hold out 5000"):
        load_data(f"cifar10:{tmp_path}")


def test_the_real_data_is_split_in_proportion(shared: Path) -> None:
    splits = load_data(f"cifar10:{shared / 'data' / 'cifar10'}", seed=1, limit_train=1000)
    assert [len(part) for part in (splits.train, splits.search, splits.test)] == [1000, 5000, 10000]
    assert np.bincount(splits.train.labels).tolist() == [100] * 10
    assert np.bincount(splits.search.labels).tolist() == [500] * 10
    assert splits.image_shape == (3, 32, 32)
    assert splits.augmentation.flip
    assert splits.class_names[0] == "airplane"
