"""Purification (AutoCompress phase II): remove what the solver left nearly zero.

A solver leaves many small filters and blocks of columns inside the kept set. Each coupling group and each layer has a
threshold on their squared norms, stated as a share of its whole: the weakest go whose norms add up to at most that
share. (A median would not do: where more than half is nearly zero, so is the median.) A filter counts for the share of
its group's norm that it holds in its filters or in the columns that read it, whichever is less: either makes it
useless.

The thresholds are raised as far as the network stays as good: first one level for all, by bisection; then each further
on its own, by halving: knobs that cannot be raised together are tried in halves. Every step is judged, and only steps
that hold are taken, so the result is never worse than allowed, whenever the trials end. Nothing here is random.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .keep_indices import PruningPlan, normalize_plan
from .scores import Scores
from .search.plan_space import PlanSpace

LEVELS = (0.0, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 2e-2, 5e-2)
"""Thresholds as shares of a group's or a layer's squared norm."""

TOLERANCE = 0.1
"""Points of quick accuracy that count as no loss."""

LOSS_TOLERANCE = 0.02
"""Share by which the loss may rise: on a few hundred images it tells more than accuracy."""

CHANCE_DEVIATIONS = 3.0

DoubleArray = npt.NDArray[np.float64]
Attempt = Callable[[PruningPlan], bool]


@dataclass(frozen=True, kw_only=True, order=True)
class Knob:
    """One threshold: of the filters of a coupling group, or of the columns of a layer."""

    columns: bool
    name: str


Levels = Mapping[Knob, int]


class Purification:
    """Plans that remove, from what a plan keeps, everything under thresholds.

    Args:
        space: What may be pruned in the network that the plan refers to.
        plan: What hard pruning keeps.
        weights: Weights by layer that rank, batch-norm folded or raw.
    """

    def __init__(self, space: PlanSpace, plan: PruningPlan, weights: Mapping[str, torch.Tensor]) -> None:
        self.original = normalize_plan(space.coupling, plan)
        self._space = space
        self._weights = dict(weights)
        self._scores = Scores(space.coupling, weights, within=self.original)
        self._values = {name: _least_share(*self._scores.unit_norms(name)) for name in space.actions.group_share}
        counts = {Knob(columns=False, name=name): _keep_counts(values) for name, values in self._values.items()}
        if space.granularity.columns is not None:
            blocks = space.granularity.columns
            counts |= {
                Knob(columns=True, name=name): _keep_counts(self._scores.block_norms(name, blocks))
                for name in space.actions.layer_share
            }
        self._counts = counts

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """All thresholds, those of the most costly filters and columns first."""
        shares = (self._space.actions.group_share, self._space.actions.layer_share)
        return tuple(sorted(self._counts, key=lambda knob: (-shares[knob.columns][knob.name], knob)))

    def raised(self, levels: Levels, knob: Knob) -> int | None:
        """The next level at which a knob removes more than at its own; None where there is none."""
        counts, now = self._counts[knob], levels[knob]
        return next((level for level in range(now + 1, len(counts)) if counts[level] < counts[now]), None)

    def plan(self, levels: Levels) -> PruningPlan:
        """The plan without what lies under the thresholds; each group and layer keeps its strongest at least."""
        if not any(levels.values()):
            return self.original
        filters = {
            knob.name: np.flatnonzero(
                self._scores.strongest_units(knob.name, self._values[knob.name], self._counts[knob][level])
            ).astype(np.int32)
            for knob, level in levels.items()
            if not knob.columns
        }
        smaller = PruningPlan(
            keep_filters={**self.original.keep_filters, **filters}, keep_columns=self.original.keep_columns
        )
        scores = Scores(self._space.coupling, self._weights, within=smaller)
        blocks = self._space.granularity.columns
        columns = {
            knob.name: _keep_counts(scores.block_norms(knob.name, blocks))[level]
            for knob, level in levels.items()
            if knob.columns and blocks is not None
        }
        return self._space.choose({}, columns, scores)


def purify(purification: Purification, attempt: Attempt, trials: int) -> PruningPlan:
    """Raise thresholds as far as every step holds.

    Args:
        purification: Turns thresholds into plans.
        attempt: Judges a plan that removes more than the best so far: whether it may take its place.
        trials: Calls of `attempt` allowed.

    Returns:
        The last plan that held; the original where none did.
    """
    search = _Search(purification, attempt, trials)
    search.raise_together()
    search.raise_apart()
    return search.best


def as_good(accuracy: float, loss: float, accuracy_before: float, loss_before: float) -> bool:
    """Whether a network is no worse than before: quick accuracies in percent, losses in nats."""
    return accuracy >= accuracy_before - TOLERANCE and loss <= loss_before * (1 + LOSS_TOLERANCE)


def at_chance(accuracy: float, labels: torch.Tensor) -> bool:
    """Whether an accuracy cannot be told from always answering the most frequent class.

    Args:
        accuracy: In percent.
        labels: Of the images it was measured on, ``(n,)``, int64.
    """
    share = float(labels.bincount().max()) / len(labels)
    deviation = (share * (1 - share) / len(labels)) ** 0.5
    return bool(accuracy / 100 <= share + CHANCE_DEVIATIONS * deviation)


class _Search:
    """Levels raised so far, and the plan they give."""

    def __init__(self, purification: Purification, attempt: Attempt, trials: int) -> None:
        self._purification = purification
        self._attempt = attempt
        self._left = trials
        self._levels: dict[Knob, int] = dict.fromkeys(purification.knobs, 0)
        self.best = purification.original

    def raise_together(self) -> None:
        """Find the highest level that holds for all knobs at once, by bisection."""
        low, high = 0, len(LEVELS)
        while high - low > 1 and self._left:
            middle = (low + high) // 2
            if self._take(dict.fromkeys(self._levels, middle)):
                low = middle
            else:
                high = middle

    def raise_apart(self) -> None:
        """Raise knobs in groups, and a group that cannot be raised in halves, until nothing holds or trials end."""
        waiting = _halves(list(self._purification.knobs))
        while waiting and self._left:
            group = waiting.pop(0)
            higher = {knob: level for knob in group if (level := self._purification.raised(self._levels, knob))}
            if not higher:
                continue
            if self._take(self._levels | higher):
                waiting.append(list(higher))
            elif len(higher) > 1:
                waiting += _halves(list(higher))

    def _take(self, levels: dict[Knob, int]) -> bool:
        """Go to `levels` if they hold."""
        plan = self._purification.plan(levels)
        if plan != self.best:
            self._left -= 1
            if not self._attempt(plan):
                return False
            self.best = plan
        self._levels = levels
        return True


def _halves(knobs: list[Knob]) -> list[list[Knob]]:
    """Every other knob, so that both halves hold costly ones."""
    return [half for half in (knobs[::2], knobs[1::2]) if half]


def _least_share(filters: DoubleArray, readers: DoubleArray) -> DoubleArray:
    """The lesser of a unit's shares in two sums; of one where the other is 0 for all."""
    shares = [values / values.sum() for values in (filters, readers) if values.sum() > 0]
    return np.min(shares, axis=0) if shares else np.zeros(len(filters))


def _keep_counts(norms: DoubleArray) -> tuple[int, ...]:
    """Pieces that stay at each level, at least one, from their squared norms; those of norm 0 always go."""
    reach = np.cumsum(np.sort(norms))
    if not reach[-1] > 0:  # nothing to tell the pieces apart by
        return (len(norms),) * len(LEVELS)
    removed = [int(np.searchsorted(reach, level * reach[-1], side="right")) for level in LEVELS]
    return tuple(max(1, len(norms) - count) for count in removed)
