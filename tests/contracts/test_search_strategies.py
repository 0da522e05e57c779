"""What every search strategy must do, on a problem without a network: small, exact, and counted."""

import dataclasses
import importlib.util
import itertools
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from act.compiler.layer_shape import LayerShape
from act.toolchain.keep_indices import PruningPlan
from act.toolchain.run_folder import Journal
from act.toolchain.search.action import Action, ActionSpace
from act.toolchain.search.annealing import Annealing
from act.toolchain.search.budget import Budget, BudgetError, Costs, Proposal
from act.toolchain.search.ddpg import Ddpg
from act.toolchain.search.genetic import Genetic
from act.toolchain.search.greedy import Greedy
from act.toolchain.search.manual import Manual, Rates
from act.toolchain.search.problem import Knob, SearchProblem
from act.toolchain.search.random import RandomSearch
from act.toolchain.search.strategy import SearchResult, Strategy
from act.toolchain.search.trials import Outcome, TrialJournal

LAYERS = ("stem", "body.0", "body.1", "head")
SHARE = {"stem": 0.1, "body.0": 0.5, "body.1": 0.3, "head": 0.1}
# How much each knob's pruning hurts: cheap where there is most to gain, but for one.
HURT = {"stem": 3.0, "body.0": 0.6, "body.1": 2.0, "head": 0.3}
TRIALS = 14


def _layer(name: str) -> LayerShape:
    return LayerShape(
        name=name, kind="conv", c_in=8, c_out=8, kernel=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1),
        groups=1, input_hw=(8, 8), output_hw=(8, 8), columns=72,
    )  # fmt: skip


class Toy:
    """Four layers with a filter and a column ratio each; every evaluation is counted."""

    def __init__(self, limits: dict[str, float] | None = None) -> None:
        self.evaluated: list[tuple[Action, Costs]] = []
        self.limits = limits or {"macs": 40.0}

    def price(self, action: Action) -> tuple[PruningPlan, Costs]:
        macs, params = 0.0, 0.0
        for name in LAYERS:
            kept = (1 - action.filter_ratio[name]) * (1 - action.column_ratio[name])
            macs += 100 * SHARE[name] * kept
            params += 25 * kept
        return PruningPlan(), {"macs": macs, "params": params, "latency": 1 + macs / 50}

    def judge(self, proposal: Proposal, reject_above: float) -> Outcome:
        del reject_above
        self.evaluated.append((proposal.action, proposal.costs))
        lost = sum(
            HURT[name] * (proposal.action.filter_ratio[name] ** 2 + 0.5 * proposal.action.column_ratio[name] ** 2)
            for name in LAYERS
        )
        bad = lost / (1 + lost)
        figures = {"accuracy": 100 * (1 - bad), "badness": bad, **proposal.costs}
        return Outcome(energy=bad + 0.05 * proposal.costs["macs"] / 100, figures=figures)

    @property
    def problem(self) -> SearchProblem:
        knobs = [
            Knob(kind=kind, name=name, share=SHARE[name], layer=_layer(name))
            for name, kind in itertools.product(LAYERS, ("column", "filter"))
        ]
        return SearchProblem(
            actions=ActionSpace(group_share=SHARE, layer_share=SHARE),
            budget=Budget(limits=self.limits),
            objective="macs",
            knobs=knobs,
            price=self.price,
            judge=self.judge,
        )


RATES = Rates(filters={"body.*": 0.5, "head": 0.6}, columns={"*": 0.2})


def _needs(module: str, extra: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"needs {module}: pip install 'act-compress[{extra}]'")


STRATEGIES = [
    pytest.param(lambda: Annealing(), id="annealing"),
    pytest.param(lambda: RandomSearch(), id="random"),
    pytest.param(lambda: Greedy(), id="greedy"),
    pytest.param(lambda: Manual(rates=RATES), id="manual"),
    pytest.param(lambda: Genetic(), id="genetic", marks=_needs("pymoo", "search")),
    pytest.param(lambda: Ddpg(), id="ddpg", marks=_needs("stable_baselines3", "rl")),
]
every_strategy = pytest.mark.parametrize("make", STRATEGIES)


def run(
    make: Callable[[], Strategy],
    toy: Toy,
    *,
    trials: int = TRIALS,
    seed: int = 3,
    replay: Sequence[dict[str, Any]] = (),
) -> tuple[SearchResult, list[dict[str, Any]]]:
    written: list[dict[str, Any]] = []
    journal = TrialJournal(replay=replay, append=written.append)
    return make().run(toy.problem, trials, np.random.default_rng(seed), journal), written


@every_strategy
def test_equal_seeds_give_equal_searches(make: Callable[[], Strategy]) -> None:
    first, journal = run(make, Toy())
    np.random.default_rng().random()
    second, again = run(make, Toy())
    assert first == second
    assert journal == again


@every_strategy
@pytest.mark.parametrize("trials", [1, 2, 5, TRIALS])
def test_the_budget_of_trials_is_kept_and_every_trial_journalled(make: Callable[[], Strategy], trials: int) -> None:
    toy = Toy()
    _, journal = run(make, toy, trials=trials)
    assert 1 <= len(toy.evaluated) <= trials
    assert [record["index"] for record in journal] == list(range(len(toy.evaluated)))


@every_strategy
@pytest.mark.parametrize("limits", [{"macs": 60.0}, {"macs": 12.0}, {"params": 30.0, "latency": 1.9}])
def test_every_candidate_holds_the_hard_budget(make: Callable[[], Strategy], limits: dict[str, float]) -> None:
    toy = Toy(limits)
    result, journal = run(make, toy)
    budget = Budget(limits=limits)
    candidates = [costs for record, (_, costs) in zip(journal, toy.evaluated, strict=True) if "probe" not in record]
    assert candidates
    assert all(budget.allows(costs) for costs in candidates)
    assert budget.allows(result.best.costs)
    assert toy.price(result.best.action)[1] == result.best.costs


@every_strategy
def test_an_impossible_budget_is_said(make: Callable[[], Strategy]) -> None:
    with pytest.raises(BudgetError, match="cannot be met"):
        run(make, Toy({"macs": 1e-6}))


@every_strategy
def test_the_best_is_no_worse_than_the_first_and_is_the_best_of_the_journal(make: Callable[[], Strategy]) -> None:
    result, journal = run(make, Toy())
    energies = [record["energy"] for record in journal if "probe" not in record]
    assert result.outcome.energy == min(energies) <= energies[0]


@every_strategy
def test_a_search_cut_anywhere_ends_the_same_and_judges_nothing_twice(make: Callable[[], Strategy]) -> None:
    expected, journal = run(make, Toy())
    for cut in {0, len(journal) // 3, len(journal)}:
        toy = Toy()
        result, written = run(make, toy, replay=journal[:cut])
        assert result == expected
        assert written == journal[cut:]
        assert len(toy.evaluated) == len(journal) - cut


@every_strategy
def test_a_torn_journal_is_fine(make: Callable[[], Strategy], tmp_path: Path) -> None:
    expected, whole = run(make, Toy())
    file = tmp_path / "trials.jsonl"
    journal = Journal(file)
    for record in whole:
        journal.append(record)
    data = file.read_bytes()
    file.write_bytes(data[: -len(data.splitlines()[-1]) // 2])
    reopened = Journal(file)
    kept = list(reopened)
    assert len(kept) == len(whole) - 1
    toy = Toy()
    result = make().run(
        toy.problem, TRIALS, np.random.default_rng(3), TrialJournal(replay=kept, append=reopened.append)
    )
    assert result == expected
    assert list(Journal(file)) == whole
    assert len(toy.evaluated) == 1


@every_strategy
def test_global_random_numbers_are_left_alone(make: Callable[[], Strategy]) -> None:
    import random

    import torch

    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), float(torch.rand(()))

    def seed() -> None:
        random.seed(5)
        np.random.seed(5)
        torch.manual_seed(5)

    seed()
    expected = draw()
    seed()
    run(make, Toy(), trials=8)
    assert draw() == expected


@pytest.mark.parametrize("make", [param for param in STRATEGIES if param.id != "manual"])
def test_memory_does_not_grow_with_trials(make: Callable[[], Strategy]) -> None:
    """Every candidate carries a plan of 64 kB; a search that kept them would need 64 kB a trial more."""
    ballast = 64 * 1024

    class Heavy(Toy):
        def price(self, action: Action) -> tuple[PruningPlan, Costs]:
            columns = {"stem": np.zeros(ballast // 4, dtype=np.int32)}
            return PruningPlan(keep_columns=columns), super().price(action)[1]

        def judge(self, proposal: Proposal, reject_above: float) -> Outcome:
            outcome = super().judge(proposal, reject_above)
            self.evaluated.clear()
            return outcome

    def peak(trials: int) -> int:
        problem = Heavy().problem
        tracemalloc.start()
        try:
            make().run(problem, trials, np.random.default_rng(0), TrialJournal())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(8)  # imports
    assert peak(24) - peak(8) < 8 * ballast


@pytest.mark.parametrize("make", [param for param in STRATEGIES if param.id in ("annealing", "greedy", "genetic")])
def test_guided_searches_beat_uniform_pruning(make: Callable[[], Strategy]) -> None:
    toy = Toy()
    uniform = toy.judge(toy.problem.project(toy.problem.uniform()), np.inf)
    result, _ = run(make, toy, trials=120)
    assert result.outcome.energy < uniform.energy - 0.03


class Hasty(Toy):
    """Gives candidates above the search's limit up, with an estimate."""

    def judge(self, proposal: Proposal, reject_above: float) -> Outcome:
        outcome = super().judge(proposal, reject_above)
        hopeless = outcome.energy > reject_above
        return dataclasses.replace(outcome, energy=outcome.energy + 1) if hopeless else outcome


@pytest.mark.parametrize("make", [param for param in STRATEGIES if param.id in ("annealing", "random")])
def test_giving_hopeless_candidates_up_changes_no_decision(make: Callable[[], Strategy]) -> None:
    expected, journal = run(make, Toy(), trials=100)
    result, hasty = run(make, Hasty(), trials=100)
    assert result == expected
    assert [record["accepted"] for record in hasty] == [record["accepted"] for record in journal]
    assert sum(record["energy"] for record in hasty) > sum(record["energy"] for record in journal) + 1


def test_strategies_are_values() -> None:
    assert dataclasses.asdict(Annealing(decay=0.5)) == {"decay": 0.5}
    assert Manual(rates=RATES) == Manual(rates=RATES)
