"""The strategies by name: what a configuration asks for becomes a `Strategy`."""

from ..config import SearchConfig
from ..coupling import Coupling
from .annealing import Annealing
from .ddpg import Ddpg
from .genetic import Genetic
from .greedy import Greedy
from .manual import Manual, Rates
from .random import RandomSearch
from .strategy import Strategy


def make_strategy(settings: SearchConfig, coupling: Coupling) -> Strategy:
    """The strategy of a configuration.

    Args:
        settings: The `[search]` section.
        coupling: Of the dense network, whose names the rates of a manual search use.

    Raises:
        MissingExtraError: If it needs a package that is not installed.
        RatesError: If rates name nothing of the network.
    """
    match settings.strategy:
        case "annealing":
            return Annealing(decay=settings.decay)
        case "genetic":
            return Genetic()
        case "greedy":
            return Greedy()
        case "random":
            return RandomSearch()
        case "ddpg":
            return Ddpg()
        case "manual":
            rates = Rates(**settings.rates.model_dump())
            rates.check((group.name for group in coupling.prunable), coupling.column_layers)
            return Manual(rates=rates)
