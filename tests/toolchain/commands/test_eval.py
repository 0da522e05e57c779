"""`act eval` on networks with weights and on runs."""

import json
import pickle
import shutil

import pytest
import torch
from act.models.data import load_data
from act.models.registry import create_model, default_arguments
from act.models.weights import save_weights
from act.toolchain.cli import main


@pytest.fixture
def lenet_weights(tmp_path):
    """Weights of a LeNet-5 that answers 7 to every digit."""
    model = create_model("lenet5", **default_arguments("lenet5", num_classes=10, image_shape=(1, 8, 8)))
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.eye(10)[7])
    save_weights(tmp_path / "w.safetensors", model.state_dict(), metadata={})
    return tmp_path / "w.safetensors"


def _eval(capsys, *arguments):
    code = main(["eval", *map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_network_with_weights(lenet_weights, capsys):
    code, result, _ = _eval(capsys, "lenet5", "--weights", lenet_weights, "--data", "digits")
    assert code == 0
    labels = load_data("digits").test.labels
    assert (result["images"], result["correct"]) == (len(labels), int((labels == 7).sum()))


@pytest.mark.parametrize("batch", ["1", "1000"])
def test_batch_does_not_matter(lenet_weights, capsys, batch):
    arguments = ("lenet5", "--weights", lenet_weights, "--data", "digits", "--limit", "40", "--batch", batch)
    assert _eval(capsys, *arguments)[1]["correct"] == int((load_data("digits").test.labels[:40] == 7).sum())


def test_run_uses_its_own_data_and_seed(finished_run, capsys):
    code, result, _ = _eval(capsys, finished_run)
    assert code == 0
    assert (result["kind"], result["data"], result["seed"]) == ("run", "digits", 3)


def test_run_on_other_data(finished_run, capsys):
    code, result, _ = _eval(capsys, finished_run, "--data", "digits", "--seed", "1", "--limit", "10")
    assert (code, result["seed"], result["images"]) == (0, 1, 10)


def test_unfinished_run(finished_run, tmp_path, capsys):
    shutil.copy(finished_run / "config.toml", tmp_path)
    code, _, err = _eval(capsys, tmp_path)
    assert code == 2
    assert "holds no finished network" in err


def test_run_whose_plan_names_code(finished_run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    plan = json.loads((folder / "pruning_plan.json").read_text())
    plan["network"]["name"] = "os:system"
    (folder / "pruning_plan.json").write_text(json.dumps(plan))
    code, _, err = _eval(capsys, folder)
    assert code == 2
    assert "names code" in err


def test_malicious_weights_are_never_run(tmp_path, capsys):
    class Payload:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'owned')!r}, 'w').close()",))

    (tmp_path / "w.pt").write_bytes(pickle.dumps(Payload()))
    code, _, err = _eval(capsys, "lenet5", "--weights", tmp_path / "w.pt", "--data", "digits")
    assert code == 2
    assert not (tmp_path / "owned").exists()
    assert "w.pt" in err


def test_weights_cut_short(lenet_weights, capsys):
    lenet_weights.write_bytes(lenet_weights.read_bytes()[:-100])
    code, _, err = _eval(capsys, "lenet5", "--weights", lenet_weights, "--data", "digits")
    assert code == 2
    assert "w.safetensors" in err


def test_weights_of_another_network(lenet_weights, capsys):
    assert _eval(capsys, "resnet20", "--weights", lenet_weights, "--data", "digits")[0] == 2


def test_unknown_network(capsys):
    code, _, err = _eval(capsys, "resnet200", "--data", "digits")
    assert code == 2
    assert "did you mean 'resnet20'?" in err


def test_limit_must_be_positive(capsys):
    assert main(["eval", "lenet5", "--data", "digits", "--limit", "0"]) == 2
    assert "must be at least 1, got 0" in capsys.readouterr().err
