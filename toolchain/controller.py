"""How far each round goes, and when rounds end: the controller of `--max-accuracy-drop`.

A round's *position* counts full steps from the dense network (position 0). A full step divides the reducible cost by
`round_factor`; with cost constraints, the last of `end` equal steps meets them all.

- A round that keeps the accuracy is accepted. The next step is full while at least half of the accuracy budget is left,
  and shrinks with the slack below that (the slack rule of Play and Prune: nothing left, hardly a step).
- A round that misses it (or whose limits no network meets) is thrown away and tried again from the state before it with
  half the step, and later steps are no longer than that one.
- Rounds end when the constraints are met, when the attempts or the back-offs are used up, or when a step would be too
  small to be worth a round. The last accepted round is the smallest network found that keeps the accuracy.

Everything here is a pure function of what was tried: a resumed run, which replays its finished stages, decides as the
first one did.

Source: slack as the controller of pruning: Play and Prune, Singh et al., IJCAI 2019 (arXiv:1905.04446).
"""

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_STEP = 0.1
FULL_STEP_SLACK = 0.5
TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class AccuracyRule:
    """Accuracy that must be kept, in percent on the search part: at most `budget` points under `reference`."""

    reference: float
    budget: float

    def slack(self, accuracy: float) -> float:
        """Points that may still be lost; negative where too many are."""
        return accuracy - (self.reference - self.budget)

    def keeps(self, accuracy: float | None) -> bool:
        """Whether `accuracy` is enough; None (nothing was reached) is not."""
        return accuracy is not None and self.slack(accuracy) >= -TOLERANCE

    def step_scale(self, accuracy: float) -> float:
        """Share of a full step after a round that ended with `accuracy`, in [0, 1]."""
        if self.budget == 0:
            return 1.0  # there is no slack to go by: what goes wrong is backed off from
        return min(1.0, max(0.0, self.slack(accuracy)) / (FULL_STEP_SLACK * self.budget))


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What rounds may do.

    Attributes:
        accuracy: Accuracy to keep; None: every round that meets its limits is accepted, in full steps.
        end: Position that meets the cost constraints; None: as far as the accuracy allows.
        max_attempts: Rounds tried at most, those that are thrown away included.
        max_back_offs: Of these, how many may be thrown away.
    """

    accuracy: AccuracyRule | None
    end: float | None
    max_attempts: int
    max_back_offs: int


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One round to try, or that was tried.

    Attributes:
        round: Its number, from 1; attempts at the same round share it.
        retry: 0 for the first attempt at the round.
        position: How far it goes.
        accuracy: What it ended with, in percent; None before it, or where its limits could not be met, or where there
            is no accuracy to keep.
        accepted: Whether it counts; None before it.
    """

    round: int
    retry: int
    position: float
    accuracy: float | None = None
    accepted: bool | None = None

    @property
    def name(self) -> str:
        """The round's name in stages, journals and notes."""
        return f"round {self.round}" + (f" retry {self.retry}" if self.retry else "")


def next_attempt(rules: Rules, tried: Sequence[Attempt]) -> Attempt | None:
    """The round to try after those in `tried`, or None where rounds end."""
    position, full, step = 0.0, 1.0, 1.0
    accepted = back_offs = retry = 0
    for attempt in tried:
        if attempt.accepted:
            accepted += 1
            retry = 0
            position = attempt.position
            step = full * _scale(rules, attempt)
        else:
            back_offs += 1
            retry += 1
            full = step = (attempt.position - position) / 2
    if rules.end is not None and position >= rules.end - TOLERANCE:
        return None
    left = rules.max_attempts - len(tried)
    if left < 1 or back_offs > rules.max_back_offs or (back_offs and rules.accuracy is None):
        return None
    if rules.end is not None:
        if not retry:  # the constraints are hard: small steps must not use up the rounds that reach them
            step = max(step, (rules.end - position) / left)
        step = min(step, rules.end - position)
    elif step < LEAST_STEP:
        return None
    if retry and step < LEAST_STEP:
        return None
    reached = position + step
    if rules.end is not None and abs(rules.end - reached) < TOLERANCE:
        reached = rules.end
    return Attempt(round=accepted + 1, retry=retry, position=reached)


def _scale(rules: Rules, attempt: Attempt) -> float:
    if rules.accuracy is None or attempt.accuracy is None:
        return 1.0
    return rules.accuracy.step_scale(attempt.accuracy)
