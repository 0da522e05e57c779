import contextlib
from pathlib import Path

import numpy as np
import pytest
from act.models.image_set import DataError
from act.models.npz import load_npz, read_arrays

X = np.zeros((6, 4, 4, 3), np.uint8)
Y = np.array([0, 1, 2, 0, 1, 2])


def _save(folder: Path, **arrays: np.ndarray) -> Path:
    file = folder / "data.npz"
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file


def test_one_set_or_parts(tmp_path: Path) -> None:
    whole = load_npz(_save(tmp_path, x=X, y=Y))
    assert (len(whole.train), whole.search, whole.test) == (6, None, None)
    parts = load_npz(_save(tmp_path, x_train=X, y_train=Y, x_test=X[:3], y_test=Y[:3]))
    assert parts.search is None
    assert parts.test is not None and len(parts.test) == 3
    assert parts.class_names == ("0", "1", "2")


def test_gray_images_get_a_channel_and_labels_their_names(tmp_path: Path) -> None:
    arrays = load_npz(_save(tmp_path, x=X[..., 0], y=Y.astype(np.uint8), class_names=np.array(["a", "b", "<c>"])))
    assert arrays.train.images.shape == (6, 4, 4, 1)
    assert arrays.train.labels.dtype == np.int64
    assert arrays.class_names == ("a", "b", "<c>")


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x": X}, "x without y"),
        ({"y": Y}, "y without x"),
        ({}, "no arrays"),
        ({"x_train": X, "y_train": Y}, "x_test and y_test"),
        ({"x_test": X, "y_test": Y}, "x_train"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y}, "one or the other"),
        ({"x": X, "y": Y, "x_trian": X}, "did you mean 'x_train'"),
        ({"x": X.astype(np.float32), "y": Y}, "must be uint8"),
        ({"x": X[0], "y": Y}, "there are 4 images, but 6 labels"),
        ({"x": X[..., :2], "y": Y}, "shape"),
        ({"x": X[:, :0], "y": Y}, "shape"),
        ({"x": X, "y": Y[:5]}, "6 images, but 5 labels"),
        ({"x": X, "y": Y.astype(float)}, "whole numbers"),
        ({"x": X, "y": Y[:, None]}, "whole numbers"),
        ({"x": X, "y": Y - 1}, "lie in -1..1"),
        ({"x": X, "y": Y + 10**9}, "lie in 0..65535"),
        ({"x": X, "y": np.zeros(6, np.int64)}, "one class only"),
        ({"x": X, "y": np.full(6, 4)}, "one class only"),
        ({"x": X, "y": Y * 2}, "no image has label 1"),
        ({"x": X[:0], "y": Y[:0]}, "are empty"),
        ({"x_train": X, "y_train": Y, "x_test": X[:0], "y_test": Y[:0]}, "x_test and y_test are empty"),
        ({"x": X, "y": Y, "class_names": np.array(["a"])}, "must be 3 strings"),
        ({"x": X, "y": Y, "class_names": np.arange(3)}, "must be 3 strings"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        load_npz(_save(tmp_path, **arrays))


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return Path.touch, (Path("executed"),)  # type: ignore[return-value]


def test_objects_are_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = _save(tmp_path, x=np.array([_Bomb()], dtype=object), y=Y)
    with pytest.raises(DataError, match="never unpickled"):
        load_npz(file)
    assert not (tmp_path / "executed").exists()


def test_missing_short_and_altered_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        read_arrays(tmp_path / "nothing.npz")
    with pytest.raises(DataError, match="there is no file"):
        read_arrays(tmp_path)
    file = _save(tmp_path, x=np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8), y=Y)
    content = file.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"cut short|damaged"):
            load_npz(file)
    for place in range(60, len(content) - 60, 7):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with contextlib.suppress(DataError):  # any other exception fails the test
            load_npz(file)
