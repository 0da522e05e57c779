import numpy as np
import pytest
from act.toolchain.keep_indices import PruningPlan
from act.toolchain.search.action import MAX_RATIO, MIN_RATIO, Action, ActionSpace
from act.toolchain.search.budget import Budget, BudgetError, Costs

SPACE = ActionSpace(group_share={"a": 0.1, "b": 0.6, "c": 0.3}, layer_share={"a": 0.2, "b": 0.8})


def price(action: Action) -> tuple[PruningPlan, Costs]:
    """A cost that is the mean of the kept shares."""
    ratios = [*action.filter_ratio.values(), *action.column_ratio.values()]
    return PruningPlan(), {"macs": 100 * float(np.mean([1 - ratio for ratio in ratios]))}


def test_what_costs_more_has_no_lower_initial_ratio() -> None:
    for seed in range(20):
        action = SPACE.initial(np.random.default_rng(seed))
        assert action.filter_ratio["a"] <= action.filter_ratio["c"] <= action.filter_ratio["b"]
        assert action.column_ratio["a"] <= action.column_ratio["b"]


@pytest.mark.parametrize("limit", [90.0, 50.0, 10.0, 4.0])
def test_a_projected_action_just_fits(limit: float) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        proposal = Budget(limits={"macs": limit}).project(SPACE.initial(rng), price)
        assert 0.93 * limit <= proposal.costs["macs"] <= limit


def test_an_action_that_prunes_too_much_is_relaxed() -> None:
    strong = Action(filter_ratio=dict.fromkeys("abc", 0.9), column_ratio=dict.fromkeys("ab", 0.9))
    assert Budget(limits={"macs": 50.0}).project(strong, price).costs["macs"] > 45


def test_an_impossible_budget_is_said() -> None:
    with pytest.raises(BudgetError, match="cannot be met"):
        Budget(limits={"macs": 1.0}).project(SPACE.uniform(), price)


def test_moves_stay_in_range_and_shrink_with_the_step() -> None:
    rng = np.random.default_rng(5)
    start = SPACE.uniform()

    def spread(step: float) -> float:
        moved = [SPACE.neighbour(start, step, rng) for _ in range(200)]
        values = np.array([[*m.filter_ratio.values(), *m.column_ratio.values()] for m in moved])
        assert values.min() >= MIN_RATIO
        assert values.max() <= MAX_RATIO
        return float(np.abs(values - 0.3).mean())

    assert spread(0.1) < spread(0.5) < spread(1.0)
