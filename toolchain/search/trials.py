"""Trials: candidates judged one after another, each journalled, and replayed from an interrupted search's journal.

A search draws its candidates from a seed, so a resumed one draws the same; the outcomes of journalled trials are taken
from the journal and nothing is judged twice. Of all candidates only the best is kept: memory does not grow with trials.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Candidate = TypeVar("Candidate")


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
class TrialJournal:
    """Where trials are written, and where those of an interrupted search are read from.

    Attributes:
        replay: Records of a search with the same problem, seed and number of trials, in order; any beginning of them.
        append: Receives the record of each new trial; replayed ones are not repeated.
        on_trial: Receives every trial that may be the best, replayed ones, too.
    """

    replay: Sequence[Mapping[str, Any]] = ()
    append: Callable[[dict[str, Any]], None] | None = None
    on_trial: "Callable[[Trial[Any]], None] | None" = None


class Shortlist(Generic[Candidate]):
    """The few trials of least energy, the first among equals.

    Args:
        size: How many are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.trials: list[Trial[Candidate]] = []
        """The best first."""

    def add(self, trial: Trial[Candidate]) -> None:
        """Keep a trial where it is good enough."""
        self.trials = sorted([*self.trials, trial], key=lambda kept: kept.outcome.energy)[: self._size]


class Trials(Generic[Candidate]):
    """Judges up to `limit` candidates, and remembers the best.

    Args:
        evaluate: `(candidate, reject_above) -> outcome`, deterministic. A candidate whose energy is surely above
            `reject_above` may be given up early, with an estimate that is above it.
        limit: How many candidates may be judged.
        journal: Of this search.
    """

    def __init__(self, evaluate: Callable[[Candidate, float], Outcome], limit: int, journal: TrialJournal) -> None:
        self._evaluate = evaluate
        self._limit = limit
        self._known = {int(record["index"]): record for record in journal.replay}
        self._append = journal.append
        self._on_trial = journal.on_trial
        self._index = 0
        self._best: Trial[Candidate] | None = None

    @property
    def left(self) -> int:
        """How many candidates may still be judged."""
        return self._limit - self._index

    @property
    def best(self) -> Trial[Candidate]:
        """The trial of least energy, the first among equals; there must have been one that is no probe."""
        assert self._best is not None
        return self._best

    def run(
        self,
        candidate: Candidate,
        *,
        accepts: Callable[[float], bool] | None = None,
        reject_above: float = math.inf,
        probe: bool = False,
    ) -> Trial[Candidate]:
        """Judge one candidate, or take its outcome from the journal.

        Args:
            candidate: What is judged.
            accepts: Whether the search moves on to a candidate of this energy; by default where it is the best so far.
            reject_above: Energy above which the search does not need to know the exact one.
            probe: Measures something on the way; never the best, because it need not hold the constraint.
        """
        assert self.left > 0
        index, record = self._index, self._known.pop(self._index, None)
        if record is not None:
            outcome = Outcome(energy=record["energy"], figures=dict(record["figures"]))
        else:
            outcome = self._evaluate(candidate, reject_above)
        better = self._best is None or outcome.energy < self._best.outcome.energy
        accepted = accepts(outcome.energy) if accepts is not None else better
        trial = Trial(index=index, candidate=candidate, outcome=outcome, accepted=accepted)
        if record is None and self._append is not None:
            written = {"index": index, "energy": outcome.energy, "figures": outcome.figures, "accepted": accepted}
            self._append({**written, "probe": True} if probe else written)
        if better and not probe:
            self._best = trial
        if self._on_trial is not None and not probe:
            self._on_trial(trial)
        self._index += 1
        return trial
