"""The search flags of `act compress`, up to the moment where work begins."""

import json
from pathlib import Path

import pytest
from act.toolchain.cli import main

RATES = 'default = 0.1\n[filters]\n"layer1.*" = 0.3\n[columns]\n"layer3.*" = 0.6\n'


def compress(tmp_path: Path, *more: str) -> int:
    try:
        return main(["compress", "--dry-run", "--json", "--effort", "quick", "--out", str(tmp_path / "run"), *more])
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.mark.parametrize("strategy", ["annealing", "greedy", "random"])
def test_the_strategy_is_a_flag(tmp_path: Path, strategy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress(tmp_path, "--search", strategy) == 0
    assert json.loads(capsys.readouterr().out)["search"]["strategy"] == strategy


def test_rates_are_kept_in_the_configuration_and_mean_a_manual_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rates.toml").write_text(RATES)
    assert compress(tmp_path, "--search-rates", str(tmp_path / "rates.toml")) == 0
    search = json.loads(capsys.readouterr().out)["search"]
    assert search["strategy"] == "manual"
    assert search["rates"] == {"default": 0.1, "filters": {"layer1.*": 0.3}, "columns": {"layer3.*": 0.6}}


@pytest.mark.parametrize(
    ("flags", "rates", "message"),
    [
        (["--search", "anealing"], None, "did you mean 'annealing'"),
        (["--search", "manual"], None, "--search-rates"),
        (["--search", "greedy", "--search-rates", "rates.toml"], RATES, "no other search takes any"),
        (["--search-rates", "rates.toml"], '[filters]\n"layer4.*" = 0.5\n', "unknown coupling group 'layer4.*'"),
        (["--search-rates", "rates.toml"], '[columns]\n"layer1.0.conv" = 0.5\n', "did you mean 'layer1.0.conv1'"),
        (["--search-rates", "rates.toml"], '[columns]\n"*" = 2\n', "less than or equal to 0.97"),
        (["--search-rates", "none.toml"], None, "none.toml does not exist"),
    ],
)
def test_bad_search_flags_say_what_is_wrong(
    tmp_path: Path,
    flags: list[str],
    rates: str | None,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if rates is not None:
        Path("rates.toml").write_text(rates)
    assert compress(tmp_path, *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
