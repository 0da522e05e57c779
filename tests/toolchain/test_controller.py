"""The controller on accuracy curves that are known: what it tries, what it keeps, when it ends."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from act.toolchain.controller import LEAST_STEP, AccuracyRule, Attempt, Rules, next_attempt

Curve = Callable[[float], float | None]
RULE = AccuracyRule(reference=95.0, budget=1.0)


def rules(
    *, accuracy: AccuracyRule | None = RULE, end: float | None = None, max_attempts: int = 8, max_back_offs: int = 3
) -> Rules:
    return Rules(accuracy=accuracy, end=end, max_attempts=max_attempts, max_back_offs=max_back_offs)


def run(given: Rules, curve: Curve) -> list[Attempt]:
    """Everything that is tried where a network at a position ends with `curve(position)` percent."""
    tried: list[Attempt] = []
    while (attempt := next_attempt(given, tried)) is not None:
        accuracy = curve(attempt.position)
        rule = given.accuracy
        accepted = accuracy is not None and (rule is None or rule.keeps(accuracy))
        tried.append(replace(attempt, accuracy=accuracy, accepted=accepted))
        assert len(tried) <= given.max_attempts
    return tried


def reached(tried: list[Attempt]) -> float:
    return max((attempt.position for attempt in tried if attempt.accepted), default=0.0)


def falling(edge: float) -> Curve:
    """Nothing is lost up to `edge`, then two points a step."""
    return lambda position: 95.0 - 2.0 * max(0.0, position - edge)


def test_rounds_go_on_in_full_steps_while_nothing_is_lost() -> None:
    tried = run(rules(max_attempts=4), falling(100))
    assert [(attempt.position, attempt.accepted) for attempt in tried] == [(1, True), (2, True), (3, True), (4, True)]
    assert [attempt.name for attempt in tried] == ["round 1", "round 2", "round 3", "round 4"]


def test_a_miss_is_tried_again_with_half_the_step_from_the_state_before() -> None:
    tried = run(rules(), lambda position: 95.0 if position <= 2.5 else 90.0)
    assert [attempt.position for attempt in tried[:4]] == [1, 2, 3, 2.5]
    assert [attempt.accepted for attempt in tried[:4]] == [True, True, False, True]
    assert tried[3].name == "round 3 retry 1"
    assert tried[4].name == "round 4"
    assert tried[4].position == 3.0  # later steps are no longer than the one that held


def test_the_step_shrinks_with_the_slack() -> None:
    tried = run(rules(), lambda position: 95.0 - 0.75 * min(position, 1.0))
    assert RULE.slack(94.25) == pytest.approx(0.25)
    assert [attempt.position for attempt in tried[:3]] == pytest.approx([1.0, 1.5, 2.0])


def test_rounds_end_where_no_slack_is_left() -> None:
    tried = run(rules(), lambda position: 94.0)
    assert [attempt.position for attempt in tried] == [1.0]
    assert tried[0].accepted


@pytest.mark.parametrize("edge", [0.3, 0.9, 1.4, 2.0, 2.7, 3.3])
def test_it_ends_close_to_the_largest_reduction_that_holds(edge: float) -> None:
    tried = run(rules(max_attempts=40, max_back_offs=6), falling(edge))
    most = edge + 0.5  # two points a step, one point allowed
    assert most - 0.5 <= reached(tried) <= most + 1e-9
    assert all(attempt.position <= most + 1e-9 for attempt in tried if attempt.accepted)


@pytest.mark.parametrize("curve", [falling(0.0), falling(1.3), lambda position: 50.0, lambda position: None])
def test_attempts_and_back_offs_are_bounded(curve: Curve) -> None:
    tried = run(rules(max_attempts=5, max_back_offs=2), curve)
    assert len(tried) <= 5
    assert sum(not attempt.accepted for attempt in tried) <= 3
    steps = [b.position - a.position for a, b in itertools.pairwise(tried) if a.accepted]
    assert all(step >= LEAST_STEP - 1e-9 for step in steps)


def test_a_network_that_loses_too_much_at_once_is_left_alone() -> None:
    tried = run(rules(max_back_offs=3), lambda position: 50.0)
    assert [attempt.position for attempt in tried] == [1.0, 0.5, 0.25, 0.125]
    assert reached(tried) == 0.0


def test_no_budget_is_no_slack_to_go_by() -> None:
    strict = AccuracyRule(reference=95.0, budget=0.0)
    tried = run(rules(accuracy=strict), lambda position: 95.0 if position <= 1.5 else 94.9)
    assert [attempt.position for attempt in tried[:3]] == [1.0, 2.0, 1.5]


def test_a_cost_alone_is_met_in_equal_steps_and_gives_up_where_it_cannot_be() -> None:
    free = rules(accuracy=None, end=3.0, max_attempts=3)
    assert [attempt.position for attempt in run(free, lambda position: 10.0)] == [1.0, 2.0, 3.0]
    assert [attempt.position for attempt in run(free, lambda position: 10.0 if position < 2 else None)] == [1.0, 2.0]


def test_cost_and_accuracy_hold_together() -> None:
    tried = run(rules(end=2.0, max_attempts=5), falling(100))
    assert [attempt.position for attempt in tried] == [1.0, 2.0]


def test_small_steps_do_not_use_up_the_rounds_that_reach_a_cost() -> None:
    tried = run(rules(end=3.0, max_attempts=6), lambda position: 94.01)  # hardly any slack, ever
    assert tried[-1].position == 3.0
    assert all(attempt.accepted for attempt in tried)


def test_a_cost_that_the_accuracy_does_not_allow_ends_with_the_smallest_that_keeps_it() -> None:
    tried = run(rules(end=2.0, max_attempts=5, max_back_offs=3), lambda position: 95.0 if position <= 1.3 else 80.0)
    assert 1.0 <= reached(tried) <= 1.3
    assert len(tried) <= 5


def test_a_cost_is_reached_after_a_back_off() -> None:
    seen: list[float] = []

    def careful(position: float) -> float:
        """Half steps hold, full ones do not."""
        step = position - (seen[-1] if seen else 0.0)
        if step > 0.6:
            return 80.0
        seen.append(position)
        return 95.0

    tried = run(rules(end=2.0, max_attempts=6, max_back_offs=2), careful)
    assert reached(tried) == 2.0


def test_the_same_history_gives_the_same_decision() -> None:
    given = rules()
    tried = run(given, falling(1.3))
    for count in range(len(tried)):
        found = next_attempt(given, tried[:count])
        assert found is not None
        assert (found.name, found.position) == (tried[count].name, tried[count].position)
