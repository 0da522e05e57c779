"""Simulated annealing over any kind of candidate, journalled and repeatable.

A better candidate is always accepted, a worse one with probability `exp(-dE / T)`; `T` shrinks by `decay` after each
level. `T0` is calibrated so that a median worsening is accepted with probability 0.8, and the search ends when a
level accepts fewer than 2 % of its candidates, or when the trials are used up. AutoCompress (arXiv:1907.03141),
section 3.2, gives decay 0.7 and neither trials per level nor the end.

Every trial is handed to a journal as it is made. A resumed search draws the same candidates from the same seed and
takes the outcomes of journalled trials from there, so it ends as an uninterrupted one does.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

Candidate = TypeVar("Candidate")

MEDIAN_ACCEPTANCE = 0.8
LEAST_ACCEPTANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a trial gave: the energy that is made small, and figures for the journal."""

    energy: float
    figures: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Trial(Generic[Candidate]):
    """One evaluated candidate."""

    index: int
    candidate: Candidate
    outcome: Outcome
    accepted: bool


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How many candidates, and how fast the temperature falls."""

    trials: int
    decay: float = 0.7

    @property
    def calibration_trials(self) -> int:
        """Neighbours of the first candidate that set the first temperature."""
        return max(1, min(10, self.trials // 5))

    @property
    def trials_per_level(self) -> int:
        """Candidates at one temperature."""
        return max(4, self.trials // 10)


def anneal(
    initial: Candidate,
    perturb: Callable[[Candidate, float, np.random.Generator], Candidate],
    evaluate: Callable[[Candidate], Outcome],
    schedule: Schedule,
    rng: np.random.Generator,
    *,
    replay: Sequence[dict[str, Any]] = (),
    on_trial: Callable[[dict[str, Any]], None] | None = None,
) -> Trial[Candidate]:
    """Search for the candidate of least energy.

    Args:
        initial: First candidate.
        perturb: `(candidate, step, rng) -> neighbour`; `step` in (0, 1] shrinks with the temperature. It must draw
            from `rng` only.
        evaluate: Gives a candidate's outcome; must be deterministic.
        schedule: Number of candidates and cooling.
        rng: The only source of randomness.
        replay: Journal records of an interrupted search with the same seed, in order.
        on_trial: Receives the record of each new trial; replayed ones are not repeated.

    Returns:
        The best trial.
    """
    known = {int(record["index"]): record for record in replay}
    best: Trial[Candidate] | None = None
    index = 0

    def run(candidate: Candidate, current_energy: float, temperature: float) -> Trial[Candidate]:
        nonlocal best, index
        record = known.get(index)
        if record is not None:
            outcome = Outcome(energy=record["energy"], figures=record["figures"])
        else:
            outcome = evaluate(candidate)
        accepted = _accepts(outcome.energy - current_energy, temperature, rng)
        trial = Trial(index=index, candidate=candidate, outcome=outcome, accepted=accepted)
        if record is None and on_trial is not None:
            on_trial({"index": index, "energy": outcome.energy, "figures": outcome.figures, "accepted": accepted})
        if best is None or outcome.energy < best.outcome.energy:
            best = trial
        index += 1
        return trial

    current = run(initial, math.inf, 1.0)
    neighbours = [run(perturb(initial, 1.0, rng), math.inf, 1.0) for _ in range(schedule.calibration_trials)]
    temperature = _first_temperature(current.outcome.energy, [t.outcome.energy for t in neighbours])
    current = min([current, *neighbours], key=lambda trial: trial.outcome.energy)
    step = 1.0
    while index < schedule.trials:
        accepted = 0
        level = min(schedule.trials_per_level, schedule.trials - index)
        for _ in range(level):
            trial = run(perturb(current.candidate, step, rng), current.outcome.energy, temperature)
            if trial.accepted:
                current, accepted = trial, accepted + 1
        if accepted < LEAST_ACCEPTANCE * level:
            break
        temperature *= schedule.decay
        step = max(0.1, step * math.sqrt(schedule.decay))
    assert best is not None
    return best


def _first_temperature(energy: float, neighbours: Sequence[float]) -> float:
    worsenings = [neighbour - energy for neighbour in neighbours if neighbour > energy]
    if not worsenings:
        return 1e-3
    return max(1e-6, statistics.median(worsenings) / -math.log(MEDIAN_ACCEPTANCE))


def _accepts(difference: float, temperature: float, rng: np.random.Generator) -> bool:
    # One number is drawn for every trial, whether it is needed or not, so that a replay draws the same ones.
    drawn = float(rng.random())
    return difference <= 0 or (math.isfinite(difference) and drawn < math.exp(-difference / temperature))
