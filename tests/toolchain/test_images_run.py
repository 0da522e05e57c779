"""Folders of image files through the commands: train, compress, resume, eval."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from act.toolchain.cli import main
from act.toolchain.config import CompressConfig, ConfigError
from act.toolchain.pipeline import fit_size, load_source, load_splits
from act.toolchain.run_folder import RunFolder

CONFIG = """effort = "quick"
threads = 1
[prune]
admm_epochs = 1
purify = false
[train]
batch_size = 8
dense_epochs = 2
retrain_epochs = 1
final_epochs = 1
[search]
trials = 3
images = 12
recalibration_images = 32
"""


def _image_tree() -> ModuleType:
    path = Path(__file__).parents[1] / "models" / "image_tree.py"
    spec = importlib.util.spec_from_file_location("image_tree", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = _image_tree().write_parts(tmp_path_factory.mktemp("images"), {"train": 8, "val": 4, "test": 4})
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.toml"
    path.write_text(CONFIG)
    return path


def _compress(config: Path, images: Path, out: Path, *more: str) -> int:
    flags = ["--data", f"images:{images}", "--image-size", "16", "--config", str(config), "--out", str(out)]
    return main(["compress", "lenet5", "--target", "adreno640", "--quiet", "--macs-x", "1.5", *flags, *more])


@pytest.fixture(scope="module")
def finished(config: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert _compress(config, images, out) == 0
    return out


def _report(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def test_a_run_on_image_files_ends_with_its_files(finished: Path) -> None:
    report = _report(finished)
    assert "24 train, 12 search, 12 test images of 16×16×3, 3 classes" in report["data"]["description"]
    assert report["network"]["arguments"]["num_classes"] == 3
    assert report["ratios"]["macs"] >= 1.5
    assert "image_size = 16" in (finished / "config.toml").read_text()


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def test_a_killed_run_on_image_files_ends_as_the_uninterrupted_one(
    config: Path, images: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = RunFolder.finish

    def finish_and_die(self: RunFolder, name: str, result: dict[str, Any]) -> dict[str, Any]:
        record = finish(self, name, result)
        if name == "round 1 admm":
            raise KilledError
        return record

    out = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", finish_and_die)
        with pytest.raises(KilledError):
            _compress(config, images, out)
    assert main(["compress", "--quiet", "--resume", "--out", str(out)]) == 0
    for name in ("pruning_plan.json", "weights.safetensors"):
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name
    assert _report(out)["result"]["accuracy_top1"] == _report(finished)["result"]["accuracy_top1"]


def test_eval_takes_the_size_from_the_run_the_file_or_the_flag(
    finished: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = _report(finished)["result"]["accuracy_top1"]
    for source in ([str(finished)], [str(finished / "model.onnx"), "--data", f"images:{images}"]):
        assert main(["eval", *source, "--json", "--quiet"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["images"] == 12
        assert result["accuracy_top1"] == pytest.approx(expected)
    wrong = [str(finished / "model.onnx"), "--data", f"images:{images}", "--image-size", "20"]
    assert main(["eval", *wrong, "--quiet"]) == 2
    assert "takes images of 16×16 pixels, but these have 20×20" in capsys.readouterr().err


def test_train_writes_weights_that_eval_accepts(
    config: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, data = tmp_path / "weights.safetensors", ["--data", f"images:{images}"]
    arguments = ["train", "lenet5", *data, "--image-size", "16", "--config", str(config), "--out", str(out)]
    assert main([*arguments, "--epochs", "1", "--json", "--quiet"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert main(["eval", "lenet5", "--weights", str(out), *data, "--json", "--quiet"]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert judged["images"] == 12
    assert judged["accuracy_top1"] == pytest.approx(trained["accuracy_top1"])


def test_search_data_may_be_another_folder_of_the_same_classes(images: Path, tmp_path: Path) -> None:
    tree = _image_tree()
    other = tree.write_classes(tmp_path / "other", 6)
    spec = {"spec": f"images:{images}", "image_size": 16}
    splits = load_splits(CompressConfig.model_validate({"data": {**spec, "search_data": f"images:{other}"}}))
    assert (len(splits.train), len(splits.search), len(splits.test)) == (24, 18, 12)
    assert splits.search.images.shape == (18, 16, 16, 3)
    wrong = tree.write_classes(tmp_path / "wrong", 6, ("blue", "red", "white"))
    with pytest.raises(ConfigError, match="only one of them has green, white"):
        load_splits(CompressConfig.model_validate({"data": {**spec, "search_data": f"images:{wrong}"}}))


def test_a_size_for_data_that_has_its_own_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["compress", "--image-size", "32", "--out", str(tmp_path / "run")]) == 2
    assert "is for images:DIR" in capsys.readouterr().err


def test_files_are_decoded_at_the_size_that_the_weights_expect(images: Path, tmp_path: Path) -> None:
    from act.models.preprocessing import Preprocessing
    from act.models.registry import create_model
    from act.models.weights import preprocessing_metadata, save_weights

    weights = tmp_path / "weights.safetensors"
    record = Preprocessing(height=20, width=20, mean=(0.5,) * 3, std=(0.2,) * 3)
    state = create_model("resnet20", num_classes=3).state_dict()
    save_weights(weights, state, metadata=preprocessing_metadata(record))
    for asked, side in ((None, 20), (16, 16)):
        values: dict[str, Any] = {
            "network": {"weights": weights},
            "data": {"spec": f"images:{images}", "image_size": asked},
        }
        config = CompressConfig.model_validate(values)
        data = load_splits(config)
        data = fit_size(config, data, load_source(config, data, allow_code=False))
        assert data.image_shape == data.search.images[:1].transpose(0, 3, 1, 2).shape[1:] == (3, side, side)
