"""Greedy search by measured sensitivity, in the way of NetAdapt (arXiv:1804.03230).

The walk starts from the dense network. Each step must bring the costs a fixed share nearer to the budget. Knobs are
tried one at a time: each is moved just as far as the step needs (and never by more than a quarter of what it keeps),
the result is measured, and the knob that loses least per cost saved is moved. NetAdapt measures every knob in every
step, which takes `steps * knobs` evaluations. With fewer, the first step measures all knobs (the most costly, where
even these are too many) and each later one the most promising; where one knob alone cannot reach the step's share,
others follow by what their last measurement promises.

Without retraining, the loss of one small move is mostly noise, and a knob that seemed free would be pruned to nothing.
So a measurement is read as a coefficient of `log(kept share)^2`: what a knob loses grows with every move, and none is
freer than a fifth of the median.

Candidates on the way do not hold the budget: they are probes, and only those that do hold it can be the result.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .action import MAX_RATIO
from .budget import Proposal
from .problem import SearchProblem
from .strategy import SearchResult
from .trials import TrialJournal, Trials

LEAST_STEPS = 8
MOST_MOVE = 0.25
BISECTIONS = 6
FLOOR = 0.05
LEAST_SENSITIVITY = 0.2


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """One knob after the other, by what it costs in accuracy."""

    def run(self, problem: SearchProblem, trials: int, rng: np.random.Generator, journal: TrialJournal) -> SearchResult:
        """See `Strategy.run`; nothing is random."""
        del rng
        log = Trials(problem.evaluate, trials, journal)
        log.run(problem.project(problem.uniform()))
        walk = _Walk(problem, log)
        if log.left > 1 and walk.excess > 0:
            walk.run(_Pace.of(log.left - 2, len(problem.knobs)))
        if log.left:
            # What is left of the way, or the slack of the last step, is spread over all knobs.
            floor = FLOOR if walk.excess > 0 else 0.0
            ratios = [max(ratio, floor) for ratio in walk.ratios]
            if any(ratios):
                log.run(problem.project(problem.action_of(ratios)))
        return SearchResult(best=log.best.candidate, outcome=log.best.outcome)


@dataclass(frozen=True, kw_only=True)
class _Pace:
    """How a number of evaluations is spent: `steps`, `first` knobs measured in the first of them, `later` in others."""

    steps: int
    first: int
    later: int

    @classmethod
    def of(cls, trials: int, knobs: int) -> "_Pace":
        steps = max(LEAST_STEPS, trials // max(knobs, 1))
        # Each step may measure once more, where several knobs have moved together.
        later = (trials - knobs - steps) // (steps - 1)
        return cls(steps=steps, first=min(knobs, max(1, trials - steps)), later=min(knobs, max(1, later)))


@dataclass(frozen=True, kw_only=True)
class _Move:
    """One knob, moved: where to, what it saves of the excess, and the proposal."""

    knob: int
    ratio: float
    saved: float
    proposal: Proposal


@dataclass
class _Walk:
    """The way from the dense network to the budget."""

    problem: SearchProblem
    log: Trials[Proposal]
    ratios: list[float] = field(init=False)
    excess: float = field(init=False)
    measured: dict[int, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.ratios = [0.0] * len(self.problem.knobs)
        self.excess = self._excess_of(self._priced(self.ratios))

    def run(self, pace: _Pace) -> None:
        """Take steps until the budget is held, or one trial is left."""
        start = self.excess
        energy = self.log.run(self._priced(self.ratios), probe=True).outcome.energy
        for step in range(1, pace.steps + 1):
            if self.log.left <= 1:
                return
            target = start * (1 - step / pace.steps)
            tried = self._most_costly()[: pace.first] if step == 1 else self._most_promising()[: pace.later]
            best = self._measure(tried, target, energy)
            if best is not None:
                self._take(best[0])
            # After one move the energy is known; after several it is measured.
            if self._advance(target) == 0 and best is not None:
                energy = best[1]
            elif self.log.left > 1:
                energy = self._run(self._priced(self.ratios))

    def _measure(self, knobs: Sequence[int], target: float, energy: float) -> tuple[_Move, float] | None:
        """Try knobs one at a time; returns the move that loses least per excess saved, with its energy."""
        best: tuple[_Move, float] | None = None
        for knob in knobs:
            if self.log.left <= 1:
                break
            move = self._move(knob, target)
            if move is not None:
                found = self._run(move.proposal)
                self.measured[knob] = (found - energy) / self._damage(move)
                if best is None or self._loss(move) / move.saved < self._loss(best[0]) / best[0].saved:
                    best = (move, found)
        return best

    def _advance(self, target: float) -> int:
        """Move the most promising knobs until `target` is reached; returns how many moves it took."""
        moves, stuck = 0, set[int]()
        while self.excess > target and len(stuck) < len(self.ratios):
            knob = next(knob for knob in self._most_promising() if knob not in stuck)
            move = self._move(knob, target)
            if move is None:
                stuck.add(knob)
            else:
                self._take(move)
                moves += 1
        return moves

    def _most_costly(self) -> list[int]:
        return sorted(range(len(self.ratios)), key=lambda knob: -self.problem.knobs[knob].share)

    def _most_promising(self) -> list[int]:
        """Knobs by the loss that a further move is expected to bring, per share of the cost that it saves."""

        def promise(knob: int) -> float:
            removed = -math.log(1 - self.ratios[knob])
            further = removed - math.log(1 - MOST_MOVE)
            saved = self.problem.knobs[knob].share * (1 - self.ratios[knob])
            return self._sensitivity(knob) * (further**2 - removed**2) / max(saved, 1e-9)

        return sorted(range(len(self.ratios)), key=promise)

    def _sensitivity(self, knob: int) -> float:
        """The knob's coefficient; that of an unmeasured one is the median."""
        positive = [value for value in self.measured.values() if value > 0]
        usual = statistics.median(positive) if positive else 1.0
        return max(self.measured.get(knob, usual), LEAST_SENSITIVITY * usual)

    def _damage(self, move: _Move) -> float:
        return math.log(1 - move.ratio) ** 2 - math.log(1 - self.ratios[move.knob]) ** 2

    def _loss(self, move: _Move) -> float:
        return self._sensitivity(move.knob) * self._damage(move)

    def _move(self, knob: int, target: float) -> _Move | None:
        """The least move of one knob that reaches `target`, or its largest; None where it saves nothing."""
        kept = 1 - self.ratios[knob]
        far = self._moved(knob, min(MAX_RATIO, 1 - kept * (1 - MOST_MOVE)))
        if far is None or self.excess - far.saved > target:
            return far
        low, high = self.ratios[knob], far.ratio
        for _ in range(BISECTIONS):
            middle = self._moved(knob, (low + high) / 2)
            if middle is not None and self.excess - middle.saved <= target:
                far, high = middle, middle.ratio
            else:
                low = (low + high) / 2
        return far

    def _moved(self, knob: int, ratio: float) -> _Move | None:
        proposal = self._priced([*self.ratios[:knob], ratio, *self.ratios[knob + 1 :]])
        saved = self.excess - self._excess_of(proposal)
        return _Move(knob=knob, ratio=ratio, saved=saved, proposal=proposal) if saved > 0 else None

    def _take(self, move: _Move) -> None:
        self.ratios[move.knob] = move.ratio
        self.excess -= move.saved

    def _run(self, proposal: Proposal) -> float:
        holds = self.problem.budget.allows(proposal.costs)
        return self.log.run(proposal, probe=not holds).outcome.energy

    def _priced(self, ratios: Sequence[float]) -> Proposal:
        return self.problem.priced(self.problem.action_of(ratios))

    def _excess_of(self, proposal: Proposal) -> float:
        return self.problem.budget.excess(proposal.costs)
