"""The walk of the agent; the agent itself is tested with all strategies."""

import numpy as np
import pytest
from act.compiler.layer_shape import LayerShape
from act.toolchain.keep_indices import PruningPlan
from act.toolchain.search.action import MAX_RATIO, Action, ActionSpace
from act.toolchain.search.budget import Budget, Costs, Proposal
from act.toolchain.search.ddpg import STATE_SIZE, LayerWalk
from act.toolchain.search.problem import Knob, SearchProblem
from act.toolchain.search.trials import Outcome, TrialJournal, Trials

NAMES = ("a", "b", "c", "d")


def shape(index: int) -> LayerShape:
    return LayerShape(
        name=NAMES[index], kind="conv", c_in=4 * (index + 1), c_out=8, kernel=(3, 3), stride=(1, 1), padding=(1, 1),
        dilation=(1, 1), groups=1, input_hw=(8, 8), output_hw=(8, 8), columns=36 * (index + 1),
    )  # fmt: skip


def price(action: Action) -> tuple[PruningPlan, Costs]:
    return PruningPlan(), {"macs": sum(25 * (1 - ratio) for ratio in action.filter_ratio.values())}


def walk(limit: float) -> tuple[LayerWalk, Trials[Proposal]]:
    problem = SearchProblem(
        actions=ActionSpace(group_share=dict.fromkeys(NAMES, 0.25), layer_share={}),
        budget=Budget(limits={"macs": limit}),
        objective="macs",
        knobs=[Knob(kind="filter", name=name, share=0.25, layer=shape(index)) for index, name in enumerate(NAMES)],
        price=price,
        judge=lambda proposal, _: Outcome(energy=sum(proposal.action.filter_ratio.values()), figures={"accuracy": 1.0}),
    )
    log = Trials(problem.evaluate, 3, TrialJournal())
    return LayerWalk(problem, log), log


@pytest.mark.parametrize("limit", [90.0, 50.0, 10.0])
@pytest.mark.parametrize("wanted", [0.0, 0.4, 1.0])
def test_actions_are_clipped_just_as_much_as_the_rest_needs(limit: float, wanted: float) -> None:
    agent, log = walk(limit)
    state = agent.restart()
    for step in range(4):
        assert state.shape == (STATE_SIZE,)
        assert state.dtype == np.float32
        assert 0 <= state.min() <= state.max() <= 1
        state, reward, finished, taken = agent.step(wanted)
        assert finished == (step == 3)
        assert taken >= wanted - 1e-6
    ratios = list(log.best.candidate.action.filter_ratio.values())
    assert log.best.candidate.costs["macs"] <= limit
    assert reward == -sum(ratios)
    if wanted == 0.0:
        # All that can be put off is put off: the last knobs are pruned as hard as they may be.
        assert ratios == sorted(ratios)
        assert log.best.candidate.costs["macs"] > 0.9 * limit
    if wanted == 1.0:
        assert ratios == [MAX_RATIO] * 4


def test_the_state_tells_what_was_reduced_and_what_is_left() -> None:
    agent, _ = walk(50.0)
    first = agent.restart()
    second, *_ = agent.step(0.5)
    reduced, rest, last = -3, -2, -1
    assert (first[reduced], first[rest], first[last]) == (0.0, 1.0, 0.0)
    assert second[reduced] > 0
    assert second[rest] == pytest.approx(0.75)
    assert second[last] == pytest.approx(0.5)
