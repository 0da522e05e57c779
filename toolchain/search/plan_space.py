"""PlanSpace: turns an action into a pruning plan of one network and prices it, without building the pruned network."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from ...compiler.layer_shape import LayerShape
from ..capture import CapturedNetwork
from ..cost import CostTable
from ..coupling import Coupling
from ..granularity import Granularity, GranularityError, Unstructured
from ..keep_indices import PruningPlan
from ..latency import LatencyCost
from ..plan_choice import choose_plan
from ..projection import SINGLE_COLUMNS
from ..scores import Scores
from .action import Action, ActionSpace
from .budget import Costs

Prior = Literal["macs", "weights"]


class PlanSpace:
    """Everything that may be pruned in one network, ranked by given weights.

    Args:
        network: The network of this round.
        coupling: Its coupling groups.
        weights: Weights by layer that rank filters and columns (batch-norm folded, or raw).
        granularity: What is removed in one piece.
        prior: What orders the ratios of a first action: MACs, or remaining weights (the paper's rule).
        latency_of: Milliseconds of a list of layers, or None where latency plays no part.

    Raises:
        GranularityError: For single weights, which no plan expresses.
    """

    def __init__(
        self,
        network: CapturedNetwork,
        coupling: Coupling,
        weights: dict[str, torch.Tensor],
        *,
        granularity: Granularity,
        prior: Prior = "macs",
        latency_of: LatencyCost | None,
    ) -> None:
        if isinstance(granularity, Unstructured):
            raise GranularityError("no pruning plan removes single weights: choose another granularity")
        self.network = network
        self.coupling = coupling
        self.granularity = granularity
        self._scores = Scores(coupling, weights)
        self._latency_of = latency_of
        self._table = CostTable(network, coupling)
        self._sizes = {group.name: group.size for group in coupling.prunable}
        shares = _shares(self._table.layer_shapes(), prior)
        columns = coupling.column_layers if granularity.columns is not None else ()
        self.actions = ActionSpace(
            group_share=_group_shares(coupling, shares) if granularity.filters else {},
            layer_share={name: shares[name] for name in columns},
        )

    def plan(self, action: Action, scores: Scores | None = None) -> PruningPlan:
        """The plan that keeps the strongest filters and columns under the action's ratios.

        Args:
            action: Ratios of groups and layers of this network.
            scores: What ranks instead of the weights given at first (those of ADMM's `W + U`).
        """
        filter_keep = {
            name: max(1, round((1.0 - ratio) * self._sizes[name])) for name, ratio in action.filter_ratio.items()
        }
        column_keep = {name: 1.0 - ratio for name, ratio in action.column_ratio.items()}
        return self.choose(filter_keep, column_keep, scores)

    def choose(
        self,
        filter_keep: Mapping[str, int],
        column_keep: Mapping[str, int | float],
        scores: Scores | None = None,
    ) -> PruningPlan:
        """The plan that keeps so many units of each group and blocks of columns of each layer, the strongest.

        Args:
            filter_keep: Units kept by group (see `choose_plan`).
            column_keep: Blocks of columns kept by layer, a number or a share.
            scores: What ranks instead of the weights given at first.
        """
        blocks = self.granularity.columns or SINGLE_COLUMNS
        return choose_plan(self.network, self.coupling, scores or self._scores, filter_keep, column_keep, blocks=blocks)

    def costs(self, plan: PruningPlan | None = None) -> Costs:
        """Params, MACs and (where asked for) latency in milliseconds of the network under `plan`."""
        costs = {"params": float(self._table.count_params(plan).total)}
        layers = self._table.layer_shapes(plan)
        costs["macs"] = float(sum(layer.macs for layer in layers))
        if self._latency_of is not None:
            costs["latency"] = self._latency_of(layers)
        return costs

    def layers(self, plan: PruningPlan | None = None) -> list[LayerShape]:
        """Layers in execution order under `plan`."""
        return self._table.layer_shapes(plan)

    def confirm(self, *plans: PruningPlan) -> list[Costs]:
        """Costs of plans that count: on devices, their layers are measured first, those of all plans together."""
        if self._latency_of is not None:
            self._latency_of.confirm([layer for plan in plans for layer in self._table.layer_shapes(plan)])
        return [self.costs(plan) for plan in plans]

    def problems(self, plan: PruningPlan) -> list[str]:
        """Why the network cannot run under a plan, as far as that is known."""
        return [] if self._latency_of is None else self._latency_of.problems(self._table.layer_shapes(plan))

    def priced(self, action: Action, scores: Scores | None = None) -> tuple[PruningPlan, Costs]:
        """The action's plan and its costs; `scores` as in `plan`."""
        plan = self.plan(action, scores)
        return plan, self.costs(plan)


def _shares(layers: Sequence[LayerShape], prior: Prior) -> dict[str, float]:
    sizes = {layer.name: layer.macs if prior == "macs" else layer.weight_count for layer in layers}
    total = sum(sizes.values()) or 1
    return {name: size / total for name, size in sizes.items()}


def _group_shares(coupling: Coupling, shares: dict[str, float]) -> dict[str, float]:
    return {
        group.name: sum(shares.get(ref.layer, 0.0) for ref in (*group.producers, *group.consumers)) / 2
        for group in coupling.prunable
    }
