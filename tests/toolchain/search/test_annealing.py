import numpy as np
from act.toolchain.search.annealing import Outcome, Schedule, anneal


def perturb(x: float, step: float, rng: np.random.Generator) -> float:
    return float(x + rng.normal(0, step))


def evaluate(x: float) -> Outcome:
    """Two valleys: a shallow one at -1 and the deepest at 1.5."""
    return Outcome(energy=min((x + 1) ** 2 + 0.5, (x - 1.5) ** 2), figures={"x": x})


def test_it_finds_the_deep_valley_from_the_shallow_one() -> None:
    best = anneal(-1.0, perturb, evaluate, Schedule(trials=300), np.random.default_rng(1))
    assert abs(best.candidate - 1.5) < 0.2


def test_a_replayed_search_ends_as_the_uninterrupted_one() -> None:
    whole: list[dict] = []
    schedule = Schedule(trials=60)
    expected = anneal(-2.0, perturb, evaluate, schedule, np.random.default_rng(7), on_trial=whole.append)
    for cut in (0, 1, 13, len(whole)):
        evaluated: list[float] = []

        def counted(x: float, evaluated: list[float] = evaluated) -> Outcome:
            evaluated.append(x)
            return evaluate(x)

        again: list[dict] = []
        best = anneal(
            -2.0, perturb, counted, schedule, np.random.default_rng(7), replay=whole[:cut], on_trial=again.append
        )
        assert best == expected
        assert len(evaluated) == len(whole) - cut
        assert again == whole[cut:]


def test_it_never_makes_more_trials_than_allowed() -> None:
    for trials in (1, 2, 5, 37):
        made: list[dict] = []
        anneal(0.0, perturb, evaluate, Schedule(trials=trials), np.random.default_rng(0), on_trial=made.append)
        assert len(made) <= max(trials, 2)


def test_the_first_temperature_accepts_a_median_worsening_often() -> None:
    made: list[dict] = []
    anneal(1.5, perturb, evaluate, Schedule(trials=400, decay=0.999), np.random.default_rng(3), on_trial=made.append)
    first = made[11:60]
    assert 0.3 < sum(trial["accepted"] for trial in first) / len(first) <= 1.0
