"""Manual search: rates that a person gives, as in the paper's hand-made rows. One evaluation.

Rates are patterns over names, for filters by coupling group and for columns by layer. They are proportions: the budget
of each round says how strong they are, by one common power of all kept shares. Powers multiply over rounds, so
that the proportions of the final network are those that were given.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from ...models.naming import unknown_name
from .problem import Knob, SearchProblem
from .strategy import SearchResult
from .trials import TrialJournal, Trials


class RatesError(ValueError):
    """Rates that name nothing of the network, or remove nothing from it."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Shares removed, in [0, 0.97]: a whole name wins over patterns, and of these the last that matches.

    Attributes:
        default: Of what nothing matches.
        filters: By name or pattern (`layer1.*`) of coupling groups.
        columns: The same of layers.
    """

    default: float = 0.0
    filters: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, float] = field(default_factory=dict)

    def check(self, groups: Iterable[str], layers: Iterable[str]) -> None:
        """Refuse a pattern that matches nothing.

        Args:
            groups: Coupling groups of the dense network that may be pruned.
            layers: Its layers whose columns may go.

        Raises:
            RatesError: With the nearest name.
        """
        sides = (("coupling group", self.filters, list(groups)), ("layer", self.columns, list(layers)))
        for kind, patterns, names in sides:
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in names):
                    raise RatesError(f"rates of a manual search: {unknown_name(kind, pattern, names)}")

    def ratio(self, knob: Knob) -> float:
        """The share that one knob removes."""
        patterns = self.filters if knob.kind == "filter" else self.columns
        if knob.name in patterns:
            return patterns[knob.name]
        matching = [ratio for pattern, ratio in patterns.items() if fnmatchcase(knob.name, pattern)]
        return matching[-1] if matching else self.default


@dataclass(frozen=True, kw_only=True)
class Manual:
    """Uses the rates as they are, scaled to the budget."""

    rates: Rates

    def run(self, problem: SearchProblem, trials: int, rng: np.random.Generator, journal: TrialJournal) -> SearchResult:
        """See `Strategy.run`.

        Raises:
            RatesError: If the rates remove nothing.
            BudgetError: If the budget cannot be held along them.
        """
        del rng
        ratios = [self.rates.ratio(knob) for knob in problem.knobs]
        if not any(ratios):
            raise RatesError(
                "rates of a manual search: every rate of what this network and granularity may prune is 0; "
                f"these may be pruned: {', '.join(f'{knob.kind}s of {knob.name}' for knob in problem.knobs) or 'none'}"
            )
        log = Trials(problem.evaluate, trials, journal)
        log.run(problem.project(problem.action_of(ratios)))
        return SearchResult(best=log.best.candidate, outcome=log.best.outcome)
