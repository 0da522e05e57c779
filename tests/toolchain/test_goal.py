import pytest
from act.toolchain.config import GoalConfig
from act.toolchain.goal import Goal, limits_of

DENSE = {"params": 1000.0, "macs": 8000.0, "latency": 10.0}
FLOOR = {"params": 0.0, "macs": 0.0, "latency": 4.0}


def goal(max_rounds: int = 8, **asked: float) -> Goal:
    limits = limits_of(GoalConfig(**asked), DENSE)
    return Goal(limits=limits, dense=DENSE, floor=FLOOR, round_factor=2.0, max_rounds=max_rounds)


@pytest.mark.parametrize(("asked", "rounds"), [(1.5, 1), (2.0, 1), (2.1, 2), (4.0, 2), (8.0, 3)])
def test_a_ratio_is_reached_in_halvings(asked: float, rounds: int) -> None:
    assert goal(macs_x=asked).rounds == rounds
    assert goal(macs_x=asked).limits_at(rounds)["macs"] == pytest.approx(8000 / asked)


def test_few_rounds_take_larger_steps_and_still_reach_the_limit() -> None:
    steep = goal(max_rounds=2, params_x=64.0)
    assert steep.rounds == 2
    assert steep.limits_at(1)["params"] == pytest.approx(1000 / 8)
    assert steep.limits_at(2)["params"] == pytest.approx(1000 / 64)


def test_rounds_are_equal_steps() -> None:
    four = goal(macs_x=4.0)
    assert four.limits_at(1)["macs"] == pytest.approx(4000)


def test_latency_is_halved_above_its_floor() -> None:
    assert goal(latency_ms=7.0).rounds == 1
    assert goal(latency_ms=5.5).rounds == 2
    assert goal().halved("latency", 1) == {"latency": pytest.approx(7.0)}
    assert goal().halved("latency", 2) == {"latency": pytest.approx(5.5)}


def test_several_constraints_hold_together() -> None:
    both = goal(macs_x=2.0, params_x=8.0)
    assert both.rounds == 3
    assert not both.met({"params": 125.0, "macs": 4001.0, "latency": 1.0})
    assert both.met({"params": 125.0, "macs": 4000.0, "latency": 1.0})


def test_half_a_step_is_the_square_root_of_a_whole_one() -> None:
    assert goal(macs_x=4.0).limits_at(0.5)["macs"] == pytest.approx(8000 / 2**0.5)
    assert goal().halved("macs", 1.5) == {"macs": pytest.approx(8000 / 2**1.5)}
