"""torchvision's networks on the command line, and in files."""

import json
from pathlib import Path

import pytest
import torch
from act.models.preprocessing import Preprocessing
from act.models.registry import create_model
from act.models.weights import preprocessing_metadata, save_weights
from act.toolchain.cli import main
from act.toolchain.loading import load_network

RECORD = Preprocessing(height=32, width=32, mean=(0.5,) * 3, std=(0.2,) * 3)


def test_models_lists_torchvisions_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "*net*18*"]) == 0
    assert capsys.readouterr().out == "resnet18\n\ntorchvision's:\ntorchvision.resnet18\n"
    assert main(["models", "regnet_y_4*"]) == 0
    assert capsys.readouterr().out == "torchvision's:\nregnet_y_400mf\n"
    assert main(["models", "lenet*"]) == 0
    assert capsys.readouterr().out == "lenet5\n"
    assert main(["models", "efficientnet_v2_s", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"own": [], "torchvision": ["efficientnet_v2_s"]}
    assert main(["models", "efficientnt_b0"]) == 2
    assert "did you mean 'efficientnet_b0'" in capsys.readouterr().err


def test_inspect_takes_the_usual_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "squeezenet1_1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["input_shape"] == [3, 224, 224]
    assert found["params"] == 1_235_496
    assert found["network"]["arguments"]["num_classes"] == 1000


def test_too_small_or_gray_data_is_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", "efficientnet_b0", "--out", str(tmp_path / "run")]) == 2
    assert "3 channels, RGB, but in_channels is 1" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_network_is_built_for_the_size_that_its_input_has() -> None:
    loaded = load_network("vit_b_32", weights=None, preprocessing=RECORD, num_classes=4, image_shape=(3, 64, 64))
    assert loaded.network.input_shape == (3, 32, 32)
    assert loaded.spec.arguments["image_width"] == 32


def test_a_network_is_built_for_the_size_that_its_weights_expect(tmp_path: Path) -> None:
    name = "shufflenet_v2_x0_5"
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    network = create_model(name, num_classes=4, image_height=32, image_width=32)
    save_weights(weights, network.state_dict(), metadata=preprocessing_metadata(RECORD))
    data = Preprocessing(height=64, width=64, mean=(0.0,) * 3, std=(1.0,) * 3)
    loaded = load_network(name, weights=weights, preprocessing=data, num_classes=4, image_shape=(3, 64, 64))
    assert loaded.network.input_shape == (3, 32, 32)
    assert (loaded.spec.arguments["image_height"], loaded.spec.arguments["num_classes"]) == (32, 4)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded.network.module.eval()(images), network.eval()(images))
