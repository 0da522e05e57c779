from pathlib import Path

import pytest
from act.toolchain.config import PRESETS, ConfigError
from act.toolchain.config_file import load_resolved, resolve, to_toml


def test_flags_win_over_file_and_file_over_preset(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('effort = "quick"\n[search]\ntrials = 7\nimages = 9\n')
    config = resolve(None, file, {"search": {"images": 11}})
    assert (config.effort, config.search.trials, config.search.images) == ("quick", 7, 11)
    normal = resolve("normal", file, {})
    assert normal.search.trials == 7
    assert normal.prune.admm_epochs == PRESETS["normal"]["prune"]["admm_epochs"]


def test_the_resolved_configuration_reads_back_equal(tmp_path: Path) -> None:
    flags = {
        "network": {"model": "resnet20", "weights": 'a "quoted" \\ name\n.pt', "arguments": {"stem": "cifar", "n": 3}},
        "goal": {"macs_x": 2.5},
    }
    config = resolve("quick", None, flags)
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert load_resolved(tmp_path / "config.toml") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[serch]\ntrials = 3\n", "did you mean 'search'"),
        ("[search]\ntrails = 3\n", "did you mean 'trials'"),
        ("[search]\ntrials = 0\n", "greater than or equal to 1"),
        ("[goal]\nmacs_x = 0.5\n", "goal.macs_x is 0.5"),
        ('[goal]\nprecision = "fp8"\n', "goal.precision is 'fp8': Input should be 'fp32' or 'fp16'"),
        ("[goal\n", "is not TOML"),
        ('effort = "fast"\n', "allowed: quick, normal, thorough"),
        ('[network]\nmodel = "os:system"\n', "names code"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        resolve(None, file, {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml does not exist"):
        resolve(None, tmp_path / "none.toml", {})


def test_a_run_of_own_code_resumes_only_with_the_same_flag(tmp_path: Path) -> None:
    config = resolve("quick", None, {"network": {"model": "mine.nets:make"}})
    file = tmp_path / "config.toml"
    file.write_text(to_toml(config))
    assert load_resolved(file, model_from_flag="mine.nets:make") == config
    for flag in (None, "other.nets:make"):
        with pytest.raises(ConfigError, match="names code"):
            load_resolved(file, model_from_flag=flag)


def test_granularities_and_rho_by_layer_read_back(tmp_path: Path) -> None:
    for name in ("filter", "channel", "column", "block-column", "combined", "combined-block"):
        prune = {"granularity": name, "solver": "slr", "layer_rho": {"layer3.*": 2.0, "conv1": 0.5}}
        config = resolve("quick", None, {"prune": prune})
        (tmp_path / "config.toml").write_text(to_toml(config))
        assert load_resolved(tmp_path / "config.toml") == config
