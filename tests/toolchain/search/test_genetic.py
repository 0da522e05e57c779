import numpy as np
import pytest
from act.toolchain.search.action import Action
from act.toolchain.search.genetic import FRONT_POINTS, ParetoFront, population_size
from act.toolchain.search.strategy import FrontPoint

ACTION = Action(filter_ratio={}, column_ratio={})


def point(accuracy: float, cost: float) -> FrontPoint:
    return FrontPoint(accuracy=accuracy, cost=cost, action=ACTION)


def test_the_front_is_what_no_other_point_beats() -> None:
    rng = np.random.default_rng(1)
    points = [
        point(float(a), float(c)) for a, c in zip(rng.integers(0, 30, 200), rng.integers(1, 30, 200), strict=True)
    ]
    front = ParetoFront()
    for item in points:
        front.add(item)
    expected = {
        (p.accuracy, p.cost)
        for p in points
        if not any(
            (q.accuracy >= p.accuracy and q.cost < p.cost) or (q.accuracy > p.accuracy and q.cost <= p.cost)
            for q in points
        )
    }
    assert {(p.accuracy, p.cost) for p in front.points} == expected
    assert [p.cost for p in front.points] == sorted(p.cost for p in front.points)


def test_a_long_front_is_thinned_and_keeps_its_ends() -> None:
    front = ParetoFront()
    for index in range(500):
        front.add(point(100 - 100 / (index + 1), index + 1.0))
    assert len(front.points) == FRONT_POINTS
    assert (front.points[0].cost, front.points[-1].cost) == (1.0, 500.0)


@pytest.mark.parametrize(("trials", "size"), [(1, 4), (60, 8), (200, 14), (600, 24)])
def test_the_population_grows_with_the_trials(trials: int, size: int) -> None:
    assert population_size(trials) == size
