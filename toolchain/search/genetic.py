"""Genetic search for the Pareto front of quick accuracy against the objective's cost, with NSGA-II (pymoo).

An individual holds one ratio per knob. One that is over the budget is repaired by projection; one that fits stays as
it is, so that the front also shows what pruning more than asked would cost. The result of the search is the individual
of least energy, as in every other search; the front is recorded beside it.

NSGA-II: Deb et al., IEEE Transactions on Evolutionary Computation 6 (2002). The library is asked for individuals and
told their objectives, so every evaluation is ours to journal.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..extras import require
from .action import MAX_RATIO
from .budget import Proposal
from .problem import SearchProblem
from .strategy import FrontPoint, SearchResult
from .trials import Outcome, TrialJournal, Trials

LEAST_POPULATION = 4
FRONT_POINTS = 32
MOST_EXTRA_STRENGTH = 0.6

FloatArray = npt.NDArray[np.float64]


class ParetoFront:
    """Up to `FRONT_POINTS` candidates that no other one beats in both accuracy and cost."""

    def __init__(self) -> None:
        self._points: list[FrontPoint] = []

    @property
    def points(self) -> tuple[FrontPoint, ...]:
        """By cost; accuracy rises with it."""
        return tuple(self._points)

    def add(self, point: FrontPoint) -> None:
        """Take a point in unless another one is as good in both; drop those that it beats, and crowded ones."""
        if any(other.accuracy >= point.accuracy and other.cost <= point.cost for other in self._points):
            return
        kept = [other for other in self._points if other.accuracy > point.accuracy or other.cost < point.cost]
        self._points = sorted([*kept, point], key=lambda other: other.cost)
        if len(self._points) > FRONT_POINTS:
            inner = range(1, len(self._points) - 1)
            del self._points[min(inner, key=self._gap)]

    def _gap(self, index: int) -> float:
        return math.log(self._points[index + 1].cost / self._points[index - 1].cost)


@dataclass(frozen=True, kw_only=True)
class Genetic:
    """NSGA-II with SBX crossover and polynomial mutation; the population grows with the number of trials.

    Raises:
        MissingExtraError: If pymoo is not installed.
    """

    def __post_init__(self) -> None:
        require("pymoo", extra="search", what="the genetic search")

    def run(self, problem: SearchProblem, trials: int, rng: np.random.Generator, journal: TrialJournal) -> SearchResult:
        """See `Strategy.run`; `front` of the result holds the Pareto front."""
        log = Trials(problem.evaluate, trials, journal)
        front = ParetoFront()
        first = _first_population(problem, population_size(trials), rng)
        engine = _Engine(first, seed=int(rng.integers(2**31)))
        while log.left:
            individuals = engine.ask()
            if individuals is None:
                break  # every individual that crossover and mutation still give is known
            judged = [_judge(problem, log, front, genes) for genes in individuals[: log.left]]
            if len(judged) == len(individuals):
                engine.tell([genes for genes, _ in judged], [objectives for _, objectives in judged])
        return SearchResult(best=log.best.candidate, outcome=log.best.outcome, front=front.points)


def population_size(trials: int) -> int:
    """Individuals of a generation: 8 for 60 trials, 14 for 200, 24 for 600."""
    return max(LEAST_POPULATION, 2 * round(0.5 * math.sqrt(trials)))


def _first_population(problem: SearchProblem, size: int, rng: np.random.Generator) -> FloatArray:
    """Uniform pruning, then actions of the prior and random ones in turn; every third prunes a little more."""
    rows = [problem.ratios_of(problem.project(problem.uniform()).action)]
    for index in range(1, size):
        drawn = problem.initial(rng) if index % 2 else problem.random(rng)
        strength = 1 + (MOST_EXTRA_STRENGTH * float(rng.random()) if index % 3 == 0 else 0.0)
        rows.append(problem.ratios_of(problem.project(drawn).action.scaled(strength)))
    return np.asarray(rows, dtype=np.float64)


def _judge(
    problem: SearchProblem, log: Trials[Proposal], front: ParetoFront, genes: FloatArray
) -> tuple[list[float], tuple[float, float]]:
    """Repair and evaluate an individual; returns its repaired genes and its objectives."""
    proposal = problem.restrict(problem.action_of(list(genes)))
    outcome = log.run(proposal).outcome
    cost = float(proposal.costs[problem.objective])
    front.add(FrontPoint(accuracy=outcome.figures["accuracy"], cost=cost, action=proposal.action))
    return problem.ratios_of(proposal.action), (_badness(outcome), cost)


def _badness(outcome: Outcome) -> float:
    return outcome.figures["badness"]


class _Engine:
    """pymoo's NSGA-II behind ask and tell; it draws from its own generator alone."""

    def __init__(self, first: FloatArray, *, seed: int) -> None:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.config import Config
        from pymoo.core.problem import Problem

        # Otherwise it prints to stdout that its compiled parts are missing.
        Config.warnings["not_compiled"] = False
        size, genes = first.shape
        self._problem = Problem(n_var=genes, n_obj=2, xl=np.zeros(genes), xu=np.full(genes, MAX_RATIO))
        self._algorithm: Any = NSGA2(pop_size=size, sampling=first)
        self._algorithm.setup(self._problem, termination=("n_gen", 10**9), seed=seed, verbose=False)
        self._asked: Any = None

    def ask(self) -> list[FloatArray] | None:
        """The next individuals, or None where there are no new ones."""
        self._asked = self._algorithm.ask()
        return None if self._asked is None else [np.asarray(genes, dtype=np.float64) for genes in self._asked.get("X")]

    def tell(self, genes: list[list[float]], objectives: list[tuple[float, float]]) -> None:
        """Objectives of all individuals last asked for, in order, with their repaired genes."""
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        self._asked.set("X", np.asarray(genes, dtype=np.float64))
        Evaluator().eval(StaticProblem(self._problem, F=np.asarray(objectives, dtype=np.float64)), self._asked)
        self._algorithm.tell(infills=self._asked)
