"""One round of compression: search an action, drive the weights onto it with a solver, purify, compact, retrain.

Each step is a stage of the run folder; a finished stage is replayed from its record. A stage that trained hands on what
it wrote, read back, so that a resumed run continues from the very same tensors, memory layout included. The round ends
with a network that is physically smaller. Retraining the compact network is masked retraining at lower cost: the
function and the gradients of what is left are the same.
"""

import copy
import itertools
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ..models.data import Augmentation
from ..models.weights import load_into, load_weights
from .batches import Batches
from .capture import CapturedNetwork
from .compaction import compact
from .config import CompressConfig
from .coupling import Coupling, find_coupling
from .distributed import Processes
from .equality_chain import MASKED_TOLERANCE, EqualityCheck, compare_modules, probe_inputs
from .evaluation import Evaluation, evaluate, recalibrate_batch_norm
from .folding import folded_weights, plain_weights, weighted_modules
from .granularity import granularity_from_name
from .keep_indices import PruningPlan, compose_plans, normalize_plan
from .latency import LatencyCost
from .loading import rebuild, save_network
from .masking import make_masks, masked_weights
from .plan import plan_from_dict, plan_to_dict
from .progress import Progress
from .purify import Purification, as_good, at_chance, purify
from .recipe import Recipe
from .run_folder import RunFolder
from .scores import Scores
from .search.action import Action
from .search.budget import Budget, Costs, Proposal
from .search.fast_evaluation import FastEvaluation
from .search.plan_space import PlanSpace, Prior
from .search.problem import SearchProblem, network_problem
from .search.strategies import make_strategy
from .search.strategy import affordable_trials
from .search.trials import TrialJournal
from .solvers.base import Residuals, StopRule, rho_by_layer
from .solvers.selection import SolverSettings, make_solver
from .training import train

CONFIRMATIONS = 5


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """What every stage works with."""

    config: CompressConfig
    folder: RunFolder
    progress: Progress
    device: torch.device
    precision: str
    train: Batches
    search: Batches
    augmentation: Augmentation
    dense: CapturedNetwork
    dense_coupling: Coupling
    teacher: nn.Module
    latency_of: LatencyCost
    epoch_factor: float
    batch_parts: int = 1
    processes: Processes = field(default_factory=Processes)

    def seed_of(self, stage: str) -> int:
        """A stage's own seed, from the run's seed and the stage's name."""
        return zlib.crc32(f"{self.config.seed}/{stage}".encode()) & 0x7FFFFFFF

    def epochs(self, asked: int) -> int:
        """Epochs for this amount of data: small sets get more."""
        return max(1, round(asked * self.epoch_factor))

    def ranking_weights(self, network: CapturedNetwork) -> dict[str, torch.Tensor]:
        """Weights by layer that rank filters and columns."""
        return self.ranked(network, plain_weights(network))

    def ranked(self, network: CapturedNetwork, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`weights`, scaled by batch norm where the configuration ranks folded weights."""
        if self.config.prune.rank == "raw":
            return dict(weights)
        return folded_weights(network, weights)

    @property
    def prior(self) -> Prior:
        """What orders the ratios of a search's first action. Latency goes by MACs, which layers share alike."""
        by_weights = self.config.search.order == "weights" or self.config.goal.objective == "params"
        return "weights" if by_weights else "macs"

    def space(self, network: CapturedNetwork, coupling: Coupling) -> PlanSpace:
        """What may be pruned in `network`."""
        return PlanSpace(
            network,
            coupling,
            self.ranking_weights(network),
            granularity=granularity_from_name(self.config.prune.granularity),
            prior=self.prior,
            latency_of=self.latency_of,
        )

    def space_of(self, network: CapturedNetwork) -> PlanSpace:
        """The same, with the network's own coupling."""
        return self.space(network, find_coupling(network))

    def costs(self, network: CapturedNetwork) -> Costs:
        """Costs of a network as the search counts them, confirmed."""
        return self.space_of(network).confirm(PruningPlan())

    def fast_evaluation(self, network: CapturedNetwork, coupling: Coupling) -> FastEvaluation:
        """The judge of candidates in `network`."""
        return FastEvaluation(
            network,
            coupling,
            train=self.train,
            search=self.search,
            device=self.device,
            images=self.config.search.images,
            recalibration_images=self.config.search.recalibration_images,
            early_rejection=self.config.search.early_rejection,
        )

    def judge(self, network: CapturedNetwork) -> Evaluation:
        """Accuracy of a network on the whole search part, in fp32."""
        return evaluate(network.module.to(self.device), self.search)


@dataclass(frozen=True, kw_only=True)
class State:
    """A compact network and the plan that made it, in the dense network's indices."""

    network: CapturedNetwork
    plan: PruningPlan

    def save(self, bench: Workbench, stage: str) -> None:
        """Write both as the result of a stage."""
        save_network(bench.folder.stage_file(stage, ".safetensors"), self.network)

    @classmethod
    def load(cls, bench: Workbench, stage: str, plan: PruningPlan) -> "State":
        """Read what `save` wrote; `plan` is the stage's recorded plan."""
        weights = bench.folder.stage_file(stage, ".safetensors")
        return cls(network=rebuild(bench.dense, plan, weights), plan=plan)


def search_stage(bench: Workbench, stage: str, network: CapturedNetwork, budget: Budget, objective: str) -> Proposal:
    """Find the action that keeps most accuracy under `budget`."""
    coupling = find_coupling(network)
    space = bench.space(network, coupling)
    done = bench.folder.result(stage)
    if done is not None:
        action = Action(**done["action"])
        plan, costs = space.priced(action)
        return Proposal(action=action, plan=plan, costs=costs)
    strategy = make_strategy(bench.config.search, bench.dense_coupling)
    problem = network_problem(space, budget, objective, bench.fast_evaluation(network, coupling))
    trials = allowed_trials(bench, stage, problem)
    with bench.progress.stage(stage, total=trials, unit="trials") as bar:

        def record(trial: dict[str, Any]) -> None:
            bench.folder.trials.append({"stage": stage, **trial})
            bar.advance(1, f"accuracy {trial['figures']['accuracy']:.1f} %")

        journal = TrialJournal(replay=bench.folder.trials_of(stage), append=record)
        result = strategy.run(problem, trials, np.random.default_rng(bench.seed_of(stage)), journal)
        bar.say(f"best {result.outcome.figures['accuracy']:.1f} % before any retraining")
    found = confirmed(space, budget, result.best)
    record_of = {"action": found.action.to_dict(), "costs": dict(found.costs), "figures": result.outcome.figures}
    if result.front:
        record_of["pareto"] = [point.to_dict() for point in result.front]
    bench.folder.finish(stage, record_of)
    return found


def allowed_trials(bench: Workbench, stage: str, problem: SearchProblem) -> int:
    """Trials of a search; a time budget is turned into trials once, and journalled for a resumed run."""
    seconds = bench.config.search.seconds
    if seconds is None:
        return bench.config.search.trials
    for event in bench.folder.events:
        if event.get("event") == "time budget" and event["stage"] == stage:
            return int(event["trials"])
    trials = affordable_trials(problem, seconds, bench.seed_of(f"{stage} pace"))
    bench.folder.events.append({"event": "time budget", "stage": stage, "seconds": seconds, "trials": trials})
    return trials


def confirmed(space: PlanSpace, budget: Budget, proposal: Proposal, scores: Scores | None = None) -> Proposal:
    """Confirm a proposal's costs; where they turn out too high, prune more along its direction."""
    for _ in range(CONFIRMATIONS):
        costs = space.confirm(proposal.plan)
        if budget.allows(costs):
            return replace(proposal, costs=costs)
        proposal = budget.project(proposal.action, lambda action: space.priced(action, scores))
    return proposal


def solver_stage(
    bench: Workbench, stage: str, network: CapturedNetwork, action: Action, budget: Budget
) -> tuple[CapturedNetwork, PruningPlan]:
    """Train `network` towards the action's structured set; returns it trained (not yet pruned) and the final plan."""
    coupling = find_coupling(network)
    file = bench.folder.stage_file(stage, ".safetensors")
    done = bench.folder.result(stage)
    if done is not None:
        fresh = replace(network, module=copy.deepcopy(network.module))
        return load_weights_into(fresh, file), plan_from_dict(done["plan"])
    trained = replace(network, module=copy.deepcopy(network.module))
    space = bench.space(network, coupling)
    prune = bench.config.prune
    epochs = bench.epochs(prune.admm_epochs)
    layers = set(space.actions.layer_share)
    layers |= {ref.layer for group in coupling.groups if group.name in action.filter_ratio for ref in group.producers}
    trained.module.to(bench.device)
    modules = weighted_modules(trained)
    weights = {name: cast(nn.Parameter, modules[name].weight) for name in sorted(layers)}
    everything = plain_weights(trained)
    rho_of_layer = rho_by_layer(prune.layer_rho, list(coupling.layers))

    def scored(values: dict[str, torch.Tensor]) -> Scores:
        return Scores(coupling, bench.ranked(network, {**everything, **values}), rho_of_layer)

    def project(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return masked_weights(values, coupling, space.plan(action, scored(values)))

    rates = recipe(bench, stage, epochs, prune.admm_learning_rate, final_rate_share=0.1)
    settings = SolverSettings(
        name=prune.solver,
        epochs=epochs,
        steps=math.ceil(len(bench.train) / rates.batch_size),
        rate=rates.learning_rate / (1 - rates.momentum),
        pull_start=prune.pull_start,
        pull_end=prune.pull_end,
        slr_pull=prune.slr_pull,
        rho_of_layer=rho_of_layer,
        stop=StopRule(tolerance=prune.residual_tolerance),
    )
    with bench.progress.stage(stage, total=epochs, unit="epochs") as bar:

        def log(residuals: Residuals) -> None:
            bench.folder.events.append({"event": "residuals", "stage": stage, **vars(residuals)})

        solver = make_solver(settings, weights, project, log)
        summary = train(
            trained.module,
            bench.train,
            bench.augmentation,
            rates,
            device=bench.device,
            teacher=bench.teacher,
            penalty=solver,
            checkpoint=bench.folder.inner_checkpoint(stage),
            on_epoch=lambda epoch, loss: bar.advance(1, f"loss {loss:.3f}"),
            warn=bench.progress.warn,
            processes=bench.processes,
        )
        if solver.converged:
            bar.say(f"converged after {summary.epochs} of {epochs} epochs")
    ranking = scored(solver.z)
    # The weights have moved: which filters and columns are kept may have changed, and with them the cost.
    plan = confirmed(space, budget, budget.project(action, lambda moved: space.priced(moved, ranking)), ranking).plan
    trained.module.cpu()
    save_network(file, trained)
    bench.folder.finish(stage, {"plan": plan_to_dict(plan)})
    return solver_stage(bench, stage, network, action, budget)


def purify_stage(
    bench: Workbench, stage: str, network: CapturedNetwork, plan: PruningPlan, budget: Budget
) -> PruningPlan:
    """Remove from `plan` what can go without loss of quick accuracy, as much of params and MACs as possible."""
    done = bench.folder.result(stage)
    if done is not None:
        return plan_from_dict(done["plan"])
    coupling = find_coupling(network)
    space = bench.space(network, coupling)
    judge = bench.fast_evaluation(network, coupling)
    purification = Purification(space, plan, bench.ranking_weights(network))
    before, costs_before = judge(purification.original), space.costs(purification.original)
    labels = torch.cat([labels for _, labels in bench.search.in_order(500, limit=before.images)])
    trials = 0 if at_chance(before.accuracy_top1, labels) else bench.config.prune.purify_trials
    known = {int(record["index"]): record["figures"] for record in bench.folder.trials_of(stage)}
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
            fits = all(costs[kind] <= max(limit, costs_before[kind]) for kind, limit in budget.limits.items())
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
    bench.folder.finish(stage, {"plan": plan_to_dict(purified), "figures": best})
    return purified


def compact_stage(
    bench: Workbench, stage: str, state: State, trained: CapturedNetwork, plan: PruningPlan
) -> tuple[State, EqualityCheck]:
    """Make the pruned network physically smaller and check that it equals the masked one."""
    done = bench.folder.result(stage)
    if done is not None:
        composed = plan_from_dict(done["plan"])
        return State.load(bench, stage, composed), EqualityCheck.from_dict(done["equality"])
    coupling = find_coupling(trained)
    plan = normalize_plan(coupling, plan)
    masked = copy.deepcopy(trained.module)
    make_masks(trained, coupling, plan).apply_(masked)
    recalibrate_batch_norm(masked.to(bench.device), bench.train, images=bench.config.search.recalibration_images)
    pruned = compact(replace(trained, module=masked.cpu()), coupling, plan)
    composed = compose_plans(bench.dense_coupling, state.plan, plan)
    inputs = probe_inputs(trained.input_shape, next(bench.search.in_order(16))[0])
    pair = f"masked = compact, {stage.removesuffix(' compact')}"
    check = compare_modules(pair, pruned.module, masked, inputs, tolerance=MASKED_TOLERANCE)
    State(network=pruned, plan=composed).save(bench, stage)
    bench.folder.finish(stage, {"plan": plan_to_dict(composed), "equality": check.to_dict()})
    return State.load(bench, stage, composed), check


def retrain_stage(bench: Workbench, stage: str, state: State, epochs: int) -> tuple[State, dict[str, float]]:
    """Retrain a compact network; returns it with its accuracy on the search part."""
    done = bench.folder.result(stage)
    if done is not None:
        return State.load(bench, stage, state.plan), done
    network = replace(state.network, module=copy.deepcopy(state.network.module))
    epochs = bench.epochs(epochs)
    with bench.progress.stage(stage, total=epochs, unit="epochs") as bar:
        summary = train(
            network.module,
            bench.train,
            bench.augmentation,
            recipe(bench, stage, epochs, bench.config.train.retrain_learning_rate),
            device=bench.device,
            teacher=bench.teacher,
            checkpoint=bench.folder.inner_checkpoint(stage),
            on_epoch=lambda epoch, loss: bar.advance(1, f"loss {loss:.3f}"),
            warn=bench.progress.warn,
            processes=bench.processes,
        )
    judged = bench.judge(network)
    network.module.cpu()
    State(network=network, plan=state.plan).save(bench, stage)
    result = {"search_accuracy_top1": judged.accuracy_top1, "loss": summary.loss, "seconds": summary.seconds}
    bench.folder.finish(stage, result)
    return State.load(bench, stage, state.plan), result


def recipe(bench: Workbench, stage: str, epochs: int, learning_rate: float, *, final_rate_share: float = 0.0) -> Recipe:
    """The training recipe of a stage."""
    train_config = bench.config.train
    return Recipe(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=train_config.batch_size,
        weight_decay=train_config.weight_decay,
        precision=bench.precision,
        distillation=train_config.distillation,
        temperature=train_config.temperature,
        label_smoothing=train_config.label_smoothing,
        ema_decay=train_config.ema_decay,
        compile=train_config.compile,
        batch_parts=bench.batch_parts,
        final_rate_share=final_rate_share,
        seed=bench.seed_of(stage),
    )


def load_weights_into(network: CapturedNetwork, file: Path) -> CapturedNetwork:
    """Load a stage's weights into `network`, in place."""
    load_into(network.module, load_weights(file))
    return network
