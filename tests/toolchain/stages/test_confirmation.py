"""What a search settles on is measured first: finalists together, and what does not hold or run gives way."""

import math
import statistics
from collections.abc import Callable, Sequence

import pytest
from act.compiler.layer_shape import LayerShape
from act.models.registry import create_model, default_arguments
from act.toolchain.capture import capture
from act.toolchain.coupling import find_coupling
from act.toolchain.folding import plain_weights
from act.toolchain.granularity import Combined
from act.toolchain.search.action import Action
from act.toolchain.search.budget import Budget, BudgetError, Proposal
from act.toolchain.search.plan_space import PlanSpace
from act.toolchain.search.problem import NOT_RUNNABLE, network_problem
from act.toolchain.search.trials import Outcome, Shortlist, Trial
from act.toolchain.stages.confirmation import Finalists, confirmed

Truth = Callable[[LayerShape], float]


class Surprising:
    """Estimates a microsecond for a thousand MACs, and the rest by the truth of what was confirmed last."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._known: dict[LayerShape, float] = {}
        self._factor = 1.0
        self.batches: list[int] = []

    def __call__(self, layers: Sequence[LayerShape]) -> float:
        return sum(self._known.get(layer, self._factor * estimate(layer)) for layer in layers)

    def confirm(self, layers: Sequence[LayerShape]) -> None:
        self.batches.append(len(layers))
        self._known |= {layer: self._truth(layer) for layer in layers}
        ratios = [self._truth(layer) / estimate(layer) for layer in layers if estimate(layer) > 0]
        self._factor = statistics.median(filter(math.isfinite, ratios))

    def problems(self, layers: Sequence[LayerShape]) -> list[str]:
        return [f"{layer.name}: crashed" for layer in layers if self._known.get(layer) == math.inf]

    def catch_up(self, stage: str) -> None:
        """Nothing is resumed here."""


def estimate(layer: LayerShape) -> float:
    return layer.macs / 1e6


def space_with(truth: Truth) -> tuple[PlanSpace, Surprising]:
    shape = (1, 28, 28)
    model = create_model("lenet5", **default_arguments("lenet5", num_classes=10, image_shape=shape)).eval()
    network, cost = capture(model, shape), Surprising(truth)
    coupling = find_coupling(network)
    space = PlanSpace(network, coupling, plain_weights(network), granularity=Combined(), latency_of=cost)
    return space, cost


def proposal_at(space: PlanSpace, strength: float) -> Proposal:
    action = Action(
        filter_ratio=dict.fromkeys(space.actions.group_share, strength),
        column_ratio=dict.fromkeys(space.actions.layer_share, 0.0),
    )
    plan, costs = space.priced(action)
    return Proposal(action=action, plan=plan, costs=costs)


def trial(index: int, proposal: Proposal, energy: float) -> Trial[Proposal]:
    return Trial(index=index, candidate=proposal, outcome=Outcome(energy=energy, figures={}), accepted=True)


def chosen(space: PlanSpace, budget: Budget, trials: Sequence[Trial[Proposal]]) -> Trial[Proposal]:
    """What is chosen of trials that were not measured on the way."""
    finalists = Finalists(space, budget, "latency", 1000)
    for found in trials:
        finalists.add(found)
    return finalists.choose()


def test_finalists_are_measured_together_and_the_best_that_fits_is_chosen() -> None:
    space, cost = space_with(lambda layer: estimate(layer) * (9 if layer.c_out == 25 else 1))
    budget = Budget(limits={"latency": 0.8 * space.costs()["latency"]})
    first, second, third = (proposal_at(space, strength) for strength in (0.5, 0.4, 0.6))
    assert any(layer.c_out == 25 for layer in space.layers(first.plan))
    assert not any(layer.c_out == 25 for layer in space.layers(second.plan))
    finalists = [trial(0, first, 0.1), trial(1, second, 0.2), trial(2, third, 0.3)]
    best = chosen(space, budget, finalists)
    assert best.index == 1
    assert budget.allows(best.candidate.costs)
    assert cost.batches == [3 * len(space.layers())]


def test_estimates_that_hold_change_nothing() -> None:
    space, _ = space_with(estimate)
    finalists = [trial(index, proposal_at(space, 0.5), 0.1) for index in range(3)]
    best = chosen(space, Budget(limits={}), finalists)
    assert (best.index, best.candidate) == (0, finalists[0].candidate)


def test_what_costs_more_than_estimated_is_pruned_further() -> None:
    space, _ = space_with(lambda layer: 2 * estimate(layer))
    budget = Budget(limits={"latency": 0.5 * space.costs()["latency"]})
    before = budget.project(proposal_at(space, 0.3).action, space.priced)
    after = chosen(space, budget, [trial(0, before, 0.1)]).candidate
    assert after.costs["macs"] < 0.8 * before.costs["macs"]
    assert budget.allows(after.costs) and after.costs == space.costs(after.plan)


def test_what_does_not_run_is_gone_around() -> None:
    space, _ = space_with(lambda layer: math.inf if layer.c_out == 25 else estimate(layer))
    budget = Budget(limits={"macs": 0.9 * space.costs()["macs"]})
    crashing = proposal_at(space, 0.5)
    found = confirmed(space, budget, crashing)
    assert math.isfinite(found.costs["latency"]) and budget.allows(found.costs)
    assert all(layer.c_out != 25 for layer in space.layers(found.plan))


def test_where_nothing_runs_the_attempt_fails_with_the_layer() -> None:
    space, _ = space_with(lambda layer: math.inf if layer.kind == "linear" else estimate(layer))
    with pytest.raises(BudgetError, match=r"no candidate that runs was found: .*crashed"):
        confirmed(space, Budget(limits={}), proposal_at(space, 0.5))


def test_a_search_does_not_judge_what_does_not_run() -> None:
    space, _ = space_with(lambda layer: math.inf if layer.c_out == 25 else estimate(layer))
    (costs,) = space.confirm(proposal_at(space, 0.5).plan)
    assert costs["latency"] == math.inf

    def judge(plan: object, reject_above: float) -> None:
        raise AssertionError("it would be judged for nothing")

    problem = network_problem(space, Budget(limits={}), "latency", judge)  # type: ignore[arg-type]
    outcome = problem.evaluate(proposal_at(space, 0.5))
    assert outcome.energy == NOT_RUNNABLE
    assert all(math.isfinite(value) for value in outcome.figures.values())


def test_finalists_are_measured_on_the_way_after_every_quarter_of_the_trials() -> None:
    space, cost = space_with(lambda layer: estimate(layer) * (9 if layer.c_out == 25 else 1))
    budget = Budget(limits={"latency": 0.8 * space.costs()["latency"]})
    finalists = Finalists(space, budget, "latency", 14)
    too_slow, fits = proposal_at(space, 0.5), proposal_at(space, 0.6)
    for index in range(4):
        finalists.add(trial(index, too_slow, 0.1))
    assert cost.batches == [4 * len(space.layers())]
    finalists.add(trial(4, fits, 0.9))  # worse than estimated energies, better than what does not fit
    assert finalists.choose().index == 4
    assert cost.batches == [4 * len(space.layers())] * 2


def test_a_shortlist_keeps_the_best_and_the_first_of_equals() -> None:
    space, _ = space_with(estimate)
    proposal = proposal_at(space, 0.5)
    shortlist = Shortlist[Proposal](2)
    for index, energy in enumerate((0.5, 0.3, 0.4, 0.3, 0.9)):
        shortlist.add(trial(index, proposal, energy))
    assert [kept.index for kept in shortlist.trials] == [1, 3]
