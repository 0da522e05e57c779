import json
from pathlib import Path

import pytest
from act.toolchain.config import ConfigError
from act.toolchain.config_file import read_rates, resolve
from act.toolchain.search.manual import Rates, RatesError

GROUPS, LAYERS = ("conv1", "layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1"), ("layer1.0.conv2", "layer2.0.conv2")


class FilterKnob:
    kind = "filter"

    def __init__(self, name: str) -> None:
        self.name = name


@pytest.mark.parametrize(
    ("name", "ratio"), [("conv1", 0.1), ("layer1.0.conv1", 0.3), ("layer1.1.conv1", 0.5), ("layer2.0.conv1", 0.2)]
)
def test_a_whole_name_wins_then_the_last_pattern_then_the_default(name: str, ratio: float) -> None:
    rates = Rates(default=0.1, filters={"layer1.0.conv1": 0.3, "layer*": 0.2, "layer1.*": 0.5})
    assert rates.ratio(FilterKnob(name)) == ratio


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (
            Rates(filters={"layer1.0.conv": 0.5}),
            "unknown coupling group 'layer1.0.conv': did you mean 'layer1.0.conv1'",
        ),
        (Rates(columns={"layer3.*": 0.5}), r"unknown layer 'layer3.\*'"),
        (Rates(columns={"conv1": 0.5}), "known layers: layer1.0.conv2, layer2.0.conv2"),
    ],
)
def test_a_rate_that_names_nothing_is_refused(rates: Rates, message: str) -> None:
    with pytest.raises(RatesError, match=message):
        rates.check(GROUPS, LAYERS)


def test_patterns_that_match_are_let_through() -> None:
    Rates(filters={"layer?.0.*": 0.5, "conv1": 0.1}, columns={"*": 0.2}).check(GROUPS, LAYERS)


def test_rates_are_read_from_toml_and_json_alike(tmp_path: Path) -> None:
    values = {"default": 0.1, "filters": {"layer1.*": 0.3}, "columns": {"*": 0.5}}
    (tmp_path / "rates.json").write_text(json.dumps(values))
    (tmp_path / "rates.toml").write_text('default = 0.1\n[filters]\n"layer1.*" = 0.3\n[columns]\n"*" = 0.5\n')
    assert read_rates(tmp_path / "rates.json") == read_rates(tmp_path / "rates.toml") == values


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rates.toml", '[filter]\n"*" = 0.5\n', "did you mean 'filters'"),
        ("rates.toml", '[filters]\n"*" = 1.5\n', "less than or equal to 0.97"),
        ("rates.toml", "[filters\n", "is not TOML"),
        ("rates.json", "{", "is not JSON"),
    ],
)
def test_a_bad_rates_file_says_what_is_wrong(tmp_path: Path, name: str, text: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_rates(file)


def test_a_missing_rates_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml does not exist"):
        read_rates(tmp_path / "none.toml")


@pytest.mark.parametrize("search", [{"strategy": "manual"}, {"rates": {"default": 0.5}}])
def test_a_manual_search_and_rates_go_together(search: dict) -> None:
    with pytest.raises(ConfigError, match="--search-rates"):
        resolve("quick", None, {"search": search})
