"""SearchProblem: all that a search strategy sees of a network: actions, the hard budget, the judge of candidates."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...compiler.layer_shape import LayerShape
from ..keep_indices import PruningPlan
from .action import Action, ActionSpace
from .budget import Budget, Costs, Proposal, runs
from .fast_evaluation import FastEvaluation, badness
from .plan_space import PlanSpace
from .trials import Outcome

OBJECTIVE_WEIGHT = 0.05
NOT_RUNNABLE = 1e9
"""Energy of a candidate that the device cannot run: beyond any that runs."""


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One ratio of an action.

    Attributes:
        kind: What it removes.
        name: Of the coupling group (filters) or of the layer (columns).
        share: Its share of the prior, in [0, 1].
        layer: Shape of the layer it acts on (a group's first producer), unpruned.
    """

    kind: Literal["filter", "column"]
    name: str
    share: float
    layer: LayerShape


class SearchProblem:
    """What is searched, and by what it is judged.

    Args:
        actions: What may be pruned.
        budget: Limits that every candidate must hold.
        objective: The kind of cost that is made small.
        knobs: Every ratio of an action once, in execution order.
        price: Plan and costs of an action.
        judge: `(proposal, reject_above) -> outcome`; its figures hold `accuracy` in percent, `badness` in [0, ∞) (what
            is made small of accuracy alone), and every cost. A proposal whose energy is surely above `reject_above`
            may be given up early.
    """

    def __init__(
        self,
        *,
        actions: ActionSpace,
        budget: Budget,
        objective: str,
        knobs: Sequence[Knob],
        price: Callable[[Action], tuple[PruningPlan, Costs]],
        judge: Callable[[Proposal, float], Outcome],
    ) -> None:
        self.budget = budget
        self.objective = objective
        self.knobs = tuple(knobs)
        self._actions = actions
        self._price = price
        self._judge = judge

    def initial(self, rng: np.random.Generator) -> Action:
        """Random ratios in the order of the prior."""
        return self._actions.initial(rng)

    def uniform(self) -> Action:
        """Every ratio equal."""
        return self._actions.uniform()

    def random(self, rng: np.random.Generator) -> Action:
        """Independent random ratios."""
        return self._actions.random(rng)

    def neighbour(self, action: Action, step: float, rng: np.random.Generator) -> Action:
        """`action` with a random part of its ratios changed; `step` in (0, 1] says how far."""
        return self._actions.neighbour(action, step, rng)

    def action_of(self, ratios: Sequence[float]) -> Action:
        """The action with these ratios, in the order of `knobs`."""
        pairs = list(zip(self.knobs, map(float, ratios), strict=True))
        return Action(
            filter_ratio={knob.name: ratio for knob, ratio in pairs if knob.kind == "filter"},
            column_ratio={knob.name: ratio for knob, ratio in pairs if knob.kind == "column"},
        )

    def ratios_of(self, action: Action) -> list[float]:
        """Ratios of an action, in the order of `knobs`."""
        return [
            (action.filter_ratio if knob.kind == "filter" else action.column_ratio)[knob.name] for knob in self.knobs
        ]

    def priced(self, action: Action) -> Proposal:
        """The action as it is, with plan and costs; it need not hold the budget."""
        plan, costs = self._price(action)
        return Proposal(action=action, plan=plan, costs=costs)

    def project(self, action: Action) -> Proposal:
        """Scale an action to the least pruning along its direction that holds the budget.

        Raises:
            BudgetError: If none along this direction does.
        """
        return self.budget.project(action, self._price)

    def restrict(self, action: Action) -> Proposal:
        """The action as it is where it holds the budget, else projected onto it.

        Raises:
            BudgetError: As for `project`.
        """
        return self.budget.restrict(action, self._price)

    def evaluate(self, proposal: Proposal, reject_above: float = math.inf) -> Outcome:
        """Judge a proposal; see `judge` above."""
        return self._judge(proposal, reject_above)


def network_problem(space: PlanSpace, budget: Budget, objective: str, judge: FastEvaluation) -> SearchProblem:
    """The search of one network's action.

    The energy is `1 - accuracy`, with a little cross-entropy that tells candidates of equal accuracy apart, and a
    little of the cost that is left.

    Args:
        space: What may be pruned.
        budget: Limits on the plan's costs.
        objective: `params`, `macs` or `latency`.
        judge: Quick evaluation of this network.
    """
    dense_cost = space.costs()[objective]

    def judged(proposal: Proposal, reject_above: float) -> Outcome:
        if not runs(proposal.costs):
            finite = {kind: cost for kind, cost in proposal.costs.items() if math.isfinite(cost)}
            return Outcome(
                energy=NOT_RUNNABLE, figures={"accuracy": 0.0, "badness": NOT_RUNNABLE, "images": 0, **finite}
            )
        cost_part = OBJECTIVE_WEIGHT * proposal.costs[objective] / dense_cost
        result = judge(proposal.plan, reject_above=reject_above - cost_part)
        judged_on = {"accuracy": result.accuracy_top1, "badness": badness(result), "images": result.images}
        figures = {**judged_on, **proposal.costs}
        return Outcome(energy=badness(result) + cost_part, figures=figures)

    return SearchProblem(
        actions=space.actions,
        budget=budget,
        objective=objective,
        knobs=network_knobs(space),
        price=space.priced,
        judge=judged,
    )


def network_knobs(space: PlanSpace) -> list[Knob]:
    """Every ratio that may be chosen, in the order in which the layers run; columns before a layer's filters."""
    order = {layer.name: (index, layer) for index, layer in enumerate(space.layers())}
    first = {
        group.name: min((order[ref.layer] for ref in group.producers if ref.layer in order), key=lambda item: item[0])
        for group in space.coupling.prunable
        if group.name in space.actions.group_share
    }
    found = [
        *_knobs("column", space.actions.layer_share, {name: order[name] for name in space.actions.layer_share}),
        *_knobs("filter", space.actions.group_share, first),
    ]
    return [knob for _, knob in sorted(found, key=lambda item: item[0])]


def _knobs(
    kind: Literal["filter", "column"], shares: Mapping[str, float], layers: Mapping[str, tuple[int, LayerShape]]
) -> list[tuple[tuple[int, str, str], Knob]]:
    """Each knob behind its place in the order."""
    return [
        ((layers[name][0], kind, name), Knob(kind=kind, name=name, share=share, layer=layers[name][1]))
        for name, share in shares.items()
    ]
