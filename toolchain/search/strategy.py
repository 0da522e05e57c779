"""The interface of a search strategy, and what a search returns.

A strategy sees a `SearchProblem` alone: actions, their projection onto the hard budget, and their evaluation. It judges
through `Trials`, which journals and replays, and draws from the generator it is given and from nothing else.
"""

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .action import Action
from .budget import Proposal
from .problem import SearchProblem
from .trials import Outcome, TrialJournal

PACING_EVALUATIONS = 2


@dataclass(frozen=True, kw_only=True)
class FrontPoint:
    """One candidate of a Pareto front: quick accuracy in percent and cost in the objective's unit."""

    accuracy: float
    cost: float
    action: Action

    def to_dict(self) -> dict[str, object]:
        """JSON form."""
        return {"accuracy": self.accuracy, "cost": self.cost, "action": self.action.to_dict()}


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found.

    Attributes:
        best: The candidate of least energy; it holds the budget.
        outcome: Its outcome.
        front: Candidates that no other one beats in both accuracy and cost, by cost; of searches that look for them.
    """

    best: Proposal
    outcome: Outcome
    front: tuple[FrontPoint, ...] = ()


class Strategy(Protocol):
    """One way to search for an action."""

    def run(self, problem: SearchProblem, trials: int, rng: np.random.Generator, journal: TrialJournal) -> SearchResult:
        """Search with at most `trials` evaluations.

        Args:
            problem: What is searched.
            trials: Most evaluations, at least 1.
            rng: The only source of randomness.
            journal: Receives every trial; those that it replays are not judged again.

        Raises:
            BudgetError: If no action fits the budget.
        """


def affordable_trials(problem: SearchProblem, seconds: float, seed: int) -> int:
    """How many evaluations fit in `seconds`, from the time of a few; at least 1.

    A time budget becomes a number of evaluations once, before the search. Journalled by the caller, it makes a
    resumed search end as an uninterrupted one does, whatever the machine is busy with. The time of a strategy's own
    work (an agent that learns) comes on top.

    Args:
        problem: What will be searched.
        seconds: Wall-clock time for everything, the timing itself included.
        seed: Of the actions that are timed.
    """
    rng = np.random.default_rng(seed)
    began = time.perf_counter()
    # The first evaluation is slower than all others: caches and kernels are made.
    problem.evaluate(problem.project(problem.random(rng)))
    first_done = time.perf_counter()
    for _ in range(PACING_EVALUATIONS):
        problem.evaluate(problem.project(problem.random(rng)))
    done = time.perf_counter()
    return max(1, int((seconds - (done - began)) / max((done - first_done) / PACING_EVALUATIONS, 1e-9)))
