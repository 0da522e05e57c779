"""Random search: independent actions, each projected onto the budget. The baseline of every guided search."""

import math
from dataclasses import dataclass

import numpy as np

from .problem import SearchProblem
from .strategy import SearchResult
from .trials import TrialJournal, Trials


@dataclass(frozen=True, kw_only=True)
class RandomSearch:
    """Draws every ratio uniformly, with no prior; the projection keeps their proportions."""

    def run(self, problem: SearchProblem, trials: int, rng: np.random.Generator, journal: TrialJournal) -> SearchResult:
        """See `Strategy.run`."""
        log = Trials(problem.evaluate, trials, journal)
        least = math.inf
        while log.left:
            log.run(problem.project(problem.random(rng)), reject_above=least)
            least = log.best.outcome.energy
        return SearchResult(best=log.best.candidate, outcome=log.best.outcome)
