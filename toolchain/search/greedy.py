"""Greedy search by measured sensitivity, in the way of NetAdapt (arXiv:1804.03230).

The walk starts from the dense network. Each step must bring the costs a fixed share nearer to the budget. Knobs are
tried one at a time: each is moved just as far as the step needs (and never by more than a quarter of what it keeps),
the result is measured, and the knob that loses least per cost saved is moved. NetAdapt measures every knob in every
step, which takes `steps * knobs` evaluations. With fewer, the first step measures all knobs (the most costly, where
even these are too many) and each later one only those that lost least when they were last measured; where one knob
alone cannot reach the step's share, the next best follow by their last measurement.

Candidates on the way do not hold the budget: they are probes, and only those that do hold it can be the result.
"""

import math
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
MOST_PASSES = 40


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
    losses: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.ratios = [0.0] * len(self.problem.knobs)
        self.excess = self._excess_of(self._priced(self.ratios))
        # Loss of each knob per excess saved, as last measured; unmeasured ones go by their share of the cost.
        self.losses = [math.inf] * len(self.ratios)

    def run(self, pace: _Pace) -> None:
        """Take steps until the budget is held, or one trial is left."""
        start = self.excess
        energy = self.log.run(self._priced(self.ratios), probe=True).outcome.energy
        order = sorted(range(len(self.ratios)), key=lambda knob: -self.problem.knobs[knob].share)
        for step in range(1, pace.steps + 1):
            if self.log.left <= 1:
                return
            tried = order[: pace.first] if step == 1 else self._most_promising()[: pace.later]
            target = start * (1 - step / pace.steps)
            measured = self._measure(tried, target, energy)
            moved = self._advance(measured, target)
            if moved == 0:
                return
            # After one move the energy is known; after several it is measured.
            if moved == 1 and measured is not None:
                energy = measured[1]
            elif self.log.left > 1:
                energy = self._run(self._priced(self.ratios))

    def _measure(self, knobs: Sequence[int], target: float, energy: float) -> tuple[_Move, float] | None:
        """Try knobs one at a time; returns the move that loses least, with its energy."""
        best: tuple[_Move, float] | None = None
        least = math.inf
        for knob in knobs:
            move = self._move(knob, target)
            if move is None:
                self.losses[knob] = math.inf
                continue
            if self.log.left <= 1:
                break
            found = self._run(move.proposal)
            self.losses[knob] = (found - energy) / move.saved
            if self.losses[knob] < least:
                best, least = (move, found), self.losses[knob]
        return best

    def _advance(self, measured: tuple[_Move, float] | None, target: float) -> int:
        """Move the measured knob, then the next best until `target` is reached; returns how many moves it took."""
        moves = 0
        if measured is not None:
            self._take(measured[0])
            moves = 1
        for _ in range(MOST_PASSES):
            before = moves
            for knob in self._most_promising():
                if self.excess <= target:
                    return moves
                move = self._move(knob, target)
                if move is not None:
                    self._take(move)
                    moves += 1
            if moves == before:
                break
        return moves

    def _most_promising(self) -> list[int]:
        """Measured knobs, those that lose least first; where none is measured, all by their share."""
        known = [knob for knob, loss in enumerate(self.losses) if math.isfinite(loss)]
        if known:
            return sorted(known, key=lambda knob: (self.losses[knob], knob))
        return sorted(range(len(self.ratios)), key=lambda knob: -self.problem.knobs[knob].share)

    def _move(self, knob: int, target: float) -> _Move | None:
        """The least move of one knob that reaches `target`, or its largest; None where it saves nothing."""
        kept = 1 - self.ratios[knob]
        far = self._moved(knob, min(MAX_RATIO, 1 - kept * (1 - MOST_MOVE)))
        if far is None or self._excess_of(far.proposal) > target:
            return far
        low, high = self.ratios[knob], far.ratio
        for _ in range(BISECTIONS):
            middle = self._moved(knob, (low + high) / 2)
            if middle is not None and self._excess_of(middle.proposal) <= target:
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
