import shutil

import pytest
import torch
from act.models.data import load_data
from act.models.layers import ColumnConv2d
from act.toolchain.batches import Batches
from act.toolchain.compiled import WORTHWHILE_STEPS, wants_compile
from act.toolchain.recipe import Recipe
from act.toolchain.solvers.admm import Admm, RhoSchedule
from act.toolchain.training import train
from torch import nn

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("mode", "device", "steps", "wanted"),
    [
        ("auto", CPU, WORTHWHILE_STEPS["cpu"] - 1, False),
        ("auto", CPU, WORTHWHILE_STEPS["cpu"], True),
        ("auto", GPU, WORTHWHILE_STEPS["cuda"] - 1, False),
        ("auto", GPU, WORTHWHILE_STEPS["cuda"], True),
        ("auto", torch.device("mps"), 10**6, False),
        ("on", CPU, 1, True),
        ("off", GPU, 10**6, False),
    ],
)
def test_auto_compiles_long_trainings(
    mode: str, device: torch.device, steps: int, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert wants_compile(mode, device, steps) is wanted


def test_without_a_compiler_a_cpu_trains_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not wants_compile("auto", CPU, 10**6)
    assert wants_compile("on", CPU, 10**6)


def trained(compile_mode: str) -> tuple[nn.Module, list[str]]:
    """A small network with packed columns, trained under a penalty."""
    torch.manual_seed(0)
    packed = ColumnConv2d(1, 8, (3, 3), torch.tensor([0, 1, 4, 5, 7]), bias=False)
    module = nn.Sequential(packed, nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    data = load_data("digits", seed=0, limit_train=150)
    weights = {"0": packed.weight}
    penalty = Admm(
        weights, lambda values: {n: v * 0.5 for n, v in values.items()}, RhoSchedule(start=0.1, end=0.1, epochs=2)
    )
    said: list[str] = []
    train(
        module,
        Batches(data.train, data.preprocessing, CPU),
        data.augmentation,
        Recipe(epochs=2, learning_rate=0.05, batch_size=64, compile=compile_mode),
        device=CPU,
        penalty=penalty,
        warn=said.append,
    )
    return module, said


@pytest.mark.slow
def test_a_compiled_network_trains_as_the_plain_one() -> None:
    plain, _ = trained("off")
    compiled, said = trained("on")
    if said:
        pytest.skip(said[0])
    for name, value in plain.state_dict().items():
        assert torch.allclose(compiled.state_dict()[name].float(), value.float(), atol=1e-3), name


def test_where_nothing_compiles_training_goes_on_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    inductor = pytest.importorskip("torch._inductor.config")
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    plain, _ = trained("off")
    fallen_back, said = trained("on")
    assert len(said) == 1
    assert "torch.compile does not work here" in said[0]
    for name, value in plain.state_dict().items():
        assert torch.equal(fallen_back.state_dict()[name], value), name
