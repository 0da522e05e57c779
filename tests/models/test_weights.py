import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from act.models.layers import ColumnConv2d
from act.models.preprocessing import Preprocessing
from act.models.registry import create_model
from act.models.weights import Weights, WeightsError, load_into, load_weights, preprocessing_metadata, save_weights
from torch import nn

DATA = Preprocessing(height=8, width=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), class_names=("a", "b"))


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_safetensors_survive_with_metadata(tmp_path: Path) -> None:
    network, file = _network(), tmp_path / "w.safetensors"
    save_weights(file, network.state_dict(), metadata={"note": "x", **preprocessing_metadata(DATA)})
    weights = load_weights(file)
    other = _network()
    load_into(other, weights)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in network.state_dict().items())
    assert weights.metadata["note"] == "x"
    assert weights.preprocessing == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


_WRITERS: dict[str, Callable[[nn.Module, Path], None]] = {
    "plain": lambda network, file: torch.save(network.state_dict(), file),
    "legacy": lambda network, file: torch.save(network.state_dict(), file, _use_new_zipfile_serialization=False),
    "checkpoint": lambda network, file: torch.save({"epoch": 3, "state_dict": network.state_dict()}, file),
    "model": lambda network, file: torch.save({"model": network.state_dict(), "loss": 0.5}, file),
    "parallel": lambda network, file: torch.save(nn.DataParallel(network).state_dict(), file),
    "compiled": lambda network, file: torch.save(
        {f"module._orig_mod.{key}": value for key, value in network.state_dict().items()}, file
    ),
}


@pytest.mark.parametrize("kind", _WRITERS)
def test_torch_files_of_the_usual_kinds_are_read(tmp_path: Path, kind: str) -> None:
    network = _network()
    _WRITERS[kind](network, tmp_path / "w.pth")
    other = nn.Sequential(*_network())
    with torch.no_grad():
        other[0].weight.zero_()
    load_into(other, load_weights(tmp_path / "w.pth"))
    assert torch.equal(other[0].weight, network[0].weight)


def test_the_content_and_not_the_name_says_the_format(tmp_path: Path) -> None:
    torch.save(_network().state_dict(), tmp_path / "w.safetensors")
    save_weights(tmp_path / "w.pth", _network().state_dict())
    assert load_weights(tmp_path / "w.safetensors").state.keys() == load_weights(tmp_path / "w.pth").state.keys()


def test_half_precision_is_converted_and_batch_counts_may_be_missing() -> None:
    network = _network()
    state = {key: value.half() for key, value in network.state_dict().items() if "num_batches" not in key}
    other = _network()
    with torch.no_grad():
        other[0].weight.zero_()
    load_into(other, Weights(state=state))
    assert other[0].weight.dtype == torch.float32
    torch.testing.assert_close(other[0].weight, network[0].weight, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.pop("0.bias"), "missing: 0.bias;"),
        (lambda s: s.update({"9.bias": torch.zeros(1)}), "not in the network: 9.bias;"),
        (lambda s: s.update({"3.weight": torch.zeros(10, 4)}), r"3.weight is \(10, 4\), not \(2, 4\)"),
        (lambda s: s["0.weight"].fill_(float("nan")), "not finite, in 0.weight"),
        (lambda s: s.clear(), "and 5 more"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(
    change: Callable[[dict[str, torch.Tensor]], object], reason: str
) -> None:
    network = _network()
    state = {key: value.clone() + 1 for key, value in network.state_dict().items()}
    change(state)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(WeightsError, match=reason):
        load_into(network, Weights(state=state))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_column_indices_out_of_range_are_refused_and_change_nothing() -> None:
    layer = ColumnConv2d(2, 3, (3, 3), torch.tensor([1, 5, 9]))
    state = {key: value.clone() for key, value in layer.state_dict().items()}
    weight = layer.weight.detach().clone()
    bad = {**state, "weight": state["weight"] + 1, "columns": torch.tensor([1, 5, 99], dtype=torch.int32)}
    with pytest.raises(WeightsError, match=r"columns: indices must lie in 0\.\.17"):
        load_into(layer, Weights(state=bad))
    assert layer.columns.tolist() == [1, 5, 9]
    assert torch.equal(layer.weight, weight)


class _Bomb:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.place}",)


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare"])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_malicious_pickle_is_refused_and_never_executed(tmp_path: Path, kind: str, name: str) -> None:
    content = {"conv.weight": _Bomb(tmp_path / "executed")}
    if kind == "bare":
        (tmp_path / name).write_bytes(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(WeightsError, match="never executed"):
        load_weights(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_a_whole_pickled_network_is_refused_with_the_reason(tmp_path: Path) -> None:
    torch.save(_network(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"names torch\.nn\.modules\.container\.Sequential.*never executed"):
        load_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_truncated_files_are_refused(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "w"
    if kind == "safetensors":
        save_weights(file, _network().state_dict())
    else:
        torch.save(_network().state_dict(), file, _use_new_zipfile_serialization=kind == "zip")
    content = file.read_bytes()
    for size in (0, 4, 8, 9, 100, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:size])
        with pytest.raises(WeightsError):
            load_weights(file)


def test_missing_files_folders_and_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no weights file"):
        load_weights(tmp_path / "nothing.safetensors")
    with pytest.raises(WeightsError, match="it is a folder"):
        load_weights(tmp_path)
    (tmp_path / "text").write_text("just some text, longer than nine bytes")
    with pytest.raises(WeightsError, match="neither a safetensors nor a torch"):
        load_weights(tmp_path / "text")
    np.savez(tmp_path / "data.npz", x=np.zeros(3))
    with pytest.raises(WeightsError):
        load_weights(tmp_path / "data.npz")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (torch.zeros(3), "holds Tensor"),
        ({}, "state dict with tensors is expected"),
        ({"epoch": 3}, "entry 'epoch' is int"),
        ({3: torch.zeros(1)}, "entry 3"),
        ({"w": torch.zeros(2, 2).to_sparse()}, "not a plain dense tensor"),
        ({"w": torch.empty(2, device="meta")}, "not a plain dense tensor"),
    ],
)
def test_torch_files_that_are_no_state_dict_are_refused(tmp_path: Path, content: object, reason: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=reason):
        load_weights(tmp_path / "w.pth")


def _with_metadata(folder: Path, **metadata: str) -> Path:
    save_weights(folder / "w", {"w": torch.zeros(1)}, metadata={k.replace("__", "."): v for k, v in metadata.items()})
    return folder / "w"


def test_informal_normalization_replaces_that_of_the_data(tmp_path: Path) -> None:
    note = "mean 0.485,0.456,0.406 std 0.229,0.224,0.225 on [0,1] RGB"
    weights = load_weights(_with_metadata(tmp_path, normalization=note))
    assert weights.preprocessing is None
    record = weights.preprocessing_for(DATA)
    assert (record.mean, record.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (record.scale, record.height, record.class_names) == (1 / 255, 8, ("a", "b"))
    note = "mean 103.9, 116.8, 123.7 std 1, 1, 1 on [0,255] BGR"
    record = load_weights(_with_metadata(tmp_path, normalization=note)).preprocessing_for(DATA)
    assert (record.scale, record.channel_order, record.mean[0]) == (1.0, "BGR", 103.9)


def test_without_a_record_the_data_decides_and_names_come_from_it(tmp_path: Path) -> None:
    assert load_weights(_with_metadata(tmp_path)).preprocessing_for(DATA) == DATA
    record = Preprocessing(height=4, width=4, mean=(0.1, 0.1, 0.1), std=(1.0, 1.0, 1.0))
    weights = load_weights(_with_metadata(tmp_path, **preprocessing_metadata(record)))
    assert weights.preprocessing_for(DATA).class_names == ("a", "b")
    assert weights.preprocessing_for(DATA).height == 4


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"normalization": "as usual"}, "not understood: 'as usual'"),
        ({"normalization": "mean a,b,c std 1,1,1 on [0,1] RGB"}, "not understood"),
        ({"normalization": "mean 1,,2 std 1,1,1 on [0,1] RGB"}, "not understood"),
        ({"act__preprocessing": "{"}, "preprocessing record in .* is not valid"),
        ({"act__preprocessing": '{"height": 3}'}, "needs"),
    ],
)
def test_damaged_records_are_refused(tmp_path: Path, metadata: dict[str, str], reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        load_weights(_with_metadata(tmp_path, **metadata))


def test_normalization_for_other_channels_is_refused(tmp_path: Path) -> None:
    gray = Preprocessing(height=8, width=8, channel_order="GRAY", mean=(0.5,), std=(0.5,))
    weights = load_weights(_with_metadata(tmp_path, normalization="mean 1,2,3 std 1,1,1 on [0,1]"))
    with pytest.raises(WeightsError, match="does not fit the data"):
        weights.preprocessing_for(gray)


def test_failed_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_weights(file, {"w": torch.ones(1)})
    with pytest.raises(TypeError):
        save_weights(file, {"w": torch.zeros(1)}, metadata={"a": 3})  # type: ignore[dict-item]
    assert load_weights(file).state["w"].item() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
    with pytest.raises(FileNotFoundError):
        save_weights(tmp_path / "nothing" / "w", {"w": torch.zeros(1)})


def test_shared_tensors_can_be_saved(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    save_weights(tmp_path / "w", {"a": shared, "b": shared, "c": shared[::2]})
    assert load_weights(tmp_path / "w").state["c"].tolist() == [0, 2]


def test_wrong_network_for_the_published_weights_is_named(shared: Path) -> None:
    weights = load_weights(shared / "weights" / "resnet20-cifar10.safetensors")
    with pytest.raises(WeightsError, match=r"cifar10\.safetensors does not fit the network: missing: layer1\.3"):
        load_into(create_model("resnet56"), weights)
