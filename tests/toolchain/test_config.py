import pytest
from act.toolchain.config import ConfigError
from act.toolchain.config_file import resolve


def test_the_accuracy_budget_is_one_point_unless_a_cost_is_asked_for() -> None:
    assert resolve("quick", None, {}).goal.accuracy_budget == 1.0
    assert resolve("quick", None, {"goal": {"macs_x": 2.0}}).goal.accuracy_budget is None
    assert resolve("quick", None, {"goal": {"macs_x": 2.0, "max_accuracy_drop": 0.5}}).goal.accuracy_budget == 0.5


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        ({"granularity": "colum"}, "did you mean 'column'"),
        ({"granularity": "unstructured"}, "nothing to compact, export or compile"),
        ({"solver": "adam"}, "'admm', 'slr' or 'magnitude'"),
        ({"layer_rho": {"conv1": -1.0}}, "greater than 0"),
    ],
)
def test_what_prunes_is_checked(prune: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve("quick", None, {"prune": prune})
