import pytest
from act.toolchain.solvers.base import SolverError, rho_by_layer
from act.toolchain.solvers.selection import SolverSettings, make_solver

LAYERS = ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1"]


def test_patterns_name_layers_and_the_last_one_counts() -> None:
    assert rho_by_layer({}, LAYERS) == {}
    chosen = rho_by_layer({"layer*": 2.0, "layer1.0.conv2": 5.0}, LAYERS)
    assert chosen == {"layer1.0.conv1": 2.0, "layer1.0.conv2": 5.0, "layer2.0.conv1": 2.0}


def test_a_pattern_that_fits_nothing_is_refused_with_the_nearest_layer() -> None:
    with pytest.raises(SolverError, match=r"'layer1.0.conv3'.*did you mean 'layer1.0.conv"):
        rho_by_layer({"layer1.0.conv3": 2.0}, LAYERS)


def test_an_unknown_solver_is_refused_with_the_nearest() -> None:
    settings = SolverSettings(
        name="adm",
        epochs=1,
        steps=1,
        rate=0.1,
        pull_start=0.1,
        pull_end=1.0,
        slr_pull=1.0,
    )
    with pytest.raises(SolverError, match="did you mean 'admm'"):
        make_solver(settings, {}, lambda values: values)
