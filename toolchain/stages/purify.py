"""The purification stage: remove what the solver left nearly zero."""

import itertools

import torch

from ..capture import CapturedNetwork
from ..coupling import find_coupling
from ..keep_indices import PruningPlan
from ..plan import plan_from_dict, plan_to_dict
from ..purify import Purification, as_good, at_chance, purify
from ..search.budget import Budget, runs
from ..workbench import Workbench


def purify_stage(
    bench: Workbench, stage: str, network: CapturedNetwork, plan: PruningPlan, budget: Budget
) -> PruningPlan:
    """Remove from `plan` what can go without loss of quick accuracy, as much of params and MACs as possible."""
    done = bench.result(stage)
    if done is not None:
        return plan_from_dict(done["plan"])
    coupling = find_coupling(network)
    space = bench.space(network, coupling)
    judge = bench.fast_evaluation(network, coupling)
    purification = Purification(space, plan, bench.ranking_weights(network))
    before, costs_before = judge(purification.original), space.costs(purification.original)
    labels = torch.cat([labels for _, labels in bench.search_part.in_order(500, limit=before.images)])
    trials = 0 if at_chance(before.accuracy_top1, labels) else bench.config.prune.purify_trials
    known = {int(record["index"]): record["figures"] for record in bench.folder.trials_of(stage)}
    limits = budget.limits.items()
    indices, best = itertools.count(), {"accuracy": before.accuracy_top1, "loss": before.loss, "cost_share": 1.0}
    with bench.progress.stage(stage, total=trials, unit="trials") as bar:

        def attempt(candidate: PruningPlan) -> bool:
            index, costs = next(indices), space.costs(candidate)
            share = sum(costs[kind] / costs_before[kind] for kind in ("params", "macs")) / 2
            figures = known.get(index)
            if figures is None:
                found = judge(candidate)
                figures = {"accuracy": found.accuracy_top1, "loss": found.loss, "cost_share": share}
            holds = as_good(figures["accuracy"], figures["loss"], before.accuracy_top1, before.loss)
            fits = all(costs[kind] <= max(limit, costs_before[kind]) for kind, limit in limits)
            accepted = holds and fits and share < best["cost_share"]
            if index not in known:
                trial = {"index": index, "energy": share, "figures": figures, "accepted": accepted}
                bench.folder.trials.append({"stage": stage, **trial})
                bar.advance(1, f"accuracy {figures['accuracy']:.1f} %")
            if accepted:
                best.update(figures)
            return accepted

        purified = purify(purification, attempt, trials)
        if trials == 0:
            bar.say(f"{before.accuracy_top1:.1f} % is chance: nothing can be judged, so nothing is removed")
        else:
            bar.say(f"{100 * best['cost_share']:.1f} % of params and MACs left")
    (confirmed,) = space.confirm(purified)
    if not runs(confirmed) or any(confirmed[kind] > max(limit, costs_before[kind]) for kind, limit in limits):
        purified = plan  # what was estimated does not hold on the device
    bench.folder.finish(stage, {"plan": plan_to_dict(purified), "figures": best})
    return purified
