"""Simulated annealing over any kind of candidate, journalled and repeatable.

A better candidate is always accepted, a worse one with probability `exp(-dE / T)`; `T` shrinks by `decay` after each
level. `T0` is calibrated so that a median worsening is accepted with probability 0.8, and the search ends when a
level accepts fewer than 2 % of its candidates, or when the trials are used up. AutoCompress (arXiv:1907.03141),
section 3.2, gives decay 0.7 and neither trials per level nor the end.

The random number that decides acceptance is drawn before a candidate is judged. The energy up to which it would be
accepted is thus known, and an evaluation that is surely above it can be given up early.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .budget import Proposal
from .problem import SearchProblem
from .strategy import SearchResult
from .trials import Candidate, Outcome, Trial, TrialJournal, Trials

MEDIAN_ACCEPTANCE = 0.8
LEAST_ACCEPTANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How many candidates, and how fast the temperature falls."""

    trials: int
    decay: float = 0.7

    @property
    def calibration_trials(self) -> int:
        """Neighbours of the first candidate that set the first temperature."""
        return min(self.trials - 1, max(1, min(10, self.trials // 5)))

    @property
    def trials_per_level(self) -> int:
        """Candidates at one temperature."""
        return max(4, self.trials // 10)


@dataclass(frozen=True, kw_only=True)
class Annealing:
    """AutoCompress's guided search: the first action is ordered by cost, each neighbour is projected onto the budget.

    Attributes:
        decay: Factor of the temperature from level to level, in (0, 1).
    """

    decay: float = 0.7

    def run(self, problem: SearchProblem, trials: int, rng: np.random.Generator, journal: TrialJournal) -> SearchResult:
        """See `Strategy.run`."""

        def neighbour(proposal: Proposal, step: float, rng: np.random.Generator) -> Proposal:
            return problem.project(problem.neighbour(proposal.action, step, rng))

        schedule = Schedule(trials=trials, decay=self.decay)
        initial = problem.project(problem.initial(rng))
        best = _anneal(initial, neighbour, schedule, rng, Trials(problem.evaluate, trials, journal))
        return SearchResult(best=best.candidate, outcome=best.outcome)


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
    journal = TrialJournal(replay=replay, append=on_trial)
    trials = Trials[Candidate](lambda candidate, _: evaluate(candidate), schedule.trials, journal)
    return _anneal(initial, perturb, schedule, rng, trials)


def _anneal(
    initial: Candidate,
    perturb: Callable[[Candidate, float, np.random.Generator], Candidate],
    schedule: Schedule,
    rng: np.random.Generator,
    trials: Trials[Candidate],
) -> Trial[Candidate]:
    def run(candidate: Candidate, current_energy: float, temperature: float) -> Trial[Candidate]:
        # One number is drawn for every trial, whether it is needed or not, so that a replay draws the same ones.
        drawn = float(rng.random())
        return trials.run(
            candidate,
            accepts=lambda energy: _accepts(energy - current_energy, temperature, drawn),
            reject_above=current_energy - temperature * math.log(max(drawn, 1e-300)),
        )

    first = run(initial, math.inf, 1.0)
    neighbours = [
        run(perturb(initial, 1.0, rng), math.inf, 1.0).outcome.energy for _ in range(schedule.calibration_trials)
    ]
    temperature = _first_temperature(first.outcome.energy, neighbours)
    current, step = trials.best, 1.0
    while trials.left:
        accepted = 0
        level = min(schedule.trials_per_level, trials.left)
        for _ in range(level):
            trial = run(perturb(current.candidate, step, rng), current.outcome.energy, temperature)
            if trial.accepted:
                current, accepted = trial, accepted + 1
        if accepted < LEAST_ACCEPTANCE * level:
            break
        temperature *= schedule.decay
        step = max(0.1, step * math.sqrt(schedule.decay))
    return trials.best


def _first_temperature(energy: float, neighbours: Sequence[float]) -> float:
    worsenings = [neighbour - energy for neighbour in neighbours if neighbour > energy]
    if not worsenings:
        return 1e-3
    return max(1e-6, statistics.median(worsenings) / -math.log(MEDIAN_ACCEPTANCE))


def _accepts(difference: float, temperature: float, drawn: float) -> bool:
    return difference <= 0 or (math.isfinite(difference) and drawn < math.exp(-difference / temperature))
