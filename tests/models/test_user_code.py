import sys
from pathlib import Path

import pytest
import torch
from act.models.registry import ModelError, create_model
from torch import nn

_CODE = """
from torch import nn

def small(num_classes=2):
    return nn.Sequential(nn.Flatten(), nn.Linear(4, num_classes))

def anything(**kwargs):
    network = nn.Linear(1, 1)
    network.given = kwargs
    return network

def failing(num_classes):
    raise RuntimeError("out of cheese")

def leaving():
    raise SystemExit(3)

def wrong():
    return "a string"

network = small()
number = 3
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working directory with a module `own_networks`."""
    (tmp_path / "own_networks.py").write_text(_CODE)
    (tmp_path / "broken_networks.py").write_text("import no_such_package_at_all")
    (tmp_path / "unparsable_networks.py").write_text("def (")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("own_networks", "broken_networks", "unparsable_networks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_code_runs_only_where_allowed(code: Path) -> None:
    (code / "own_networks.py").write_text("raise AssertionError('executed')")
    with pytest.raises(ModelError, match="only when it is given by a flag"):
        create_model("own_networks:small")
    assert "own_networks" not in sys.modules


@pytest.mark.usefixtures("code")
def test_factory_gets_the_arguments_it_takes() -> None:
    network = create_model("own_networks:small", allow_code=True, num_classes=5, in_channels=3, stem="cifar")
    assert network(torch.zeros(1, 1, 2, 2)).shape == (1, 5)


@pytest.mark.usefixtures("code")
def test_factory_with_any_keyword_gets_all_but_the_usual_channels() -> None:
    network = create_model("own_networks:anything", allow_code=True, num_classes=5, in_channels=3)
    assert network.given == {"num_classes": 5}
    network = create_model("own_networks:anything", allow_code=True, num_classes=5, in_channels=1)
    assert network.given == {"num_classes": 5, "in_channels": 1}


@pytest.mark.usefixtures("code")
def test_ready_network_is_copied() -> None:
    first = create_model("own_networks:network", allow_code=True)
    second = create_model("own_networks:network", allow_code=True)
    assert isinstance(first, nn.Sequential)
    assert first is not second


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("own_networks:smal", "did you mean 'small'"),
        ("own_networks:number", "must be a function or class"),
        ("own_networks:wrong", "returned str"),
        ("own_networks:failing", "RuntimeError: out of cheese"),
        ("own_networks:leaving", "SystemExit"),
        ("no_such_networks:small", "no module 'no_such_networks'"),
        ("broken_networks:small", "no module 'no_such_package_at_all'"),
        ("unparsable_networks:small", "SyntaxError"),
        ("own_networks:", "package.module:factory"),
        (":small", "package.module:factory"),
        ("own_networks:a:b", "package.module:factory"),
        ("../own_networks:small", "package.module:factory"),
    ],
)
def test_what_goes_wrong_is_said(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        create_model(name, allow_code=True, num_classes=2)


def test_networks_of_torchvision_can_be_named() -> None:
    network = create_model("torchvision.models:squeezenet1_1", allow_code=True, num_classes=4, in_channels=3)
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
