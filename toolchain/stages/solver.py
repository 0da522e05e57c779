"""The solver stage: drive the weights onto an action's structured set while training, or prune them at once."""

import copy
import math
from dataclasses import replace
from typing import cast

import torch
from torch import nn

from ..capture import CapturedNetwork
from ..coupling import find_coupling
from ..folding import plain_weights, weighted_modules
from ..keep_indices import PruningPlan
from ..loading import save_network
from ..masking import masked_weights
from ..plan import plan_from_dict, plan_to_dict
from ..scores import Scores
from ..search.action import Action
from ..search.budget import Budget
from ..solvers.base import Residuals, SolverOptions, StopRule, rho_by_layer
from ..solvers.selection import SolverSettings, make_solver
from ..workbench import Workbench, load_weights_into
from .confirmation import confirmed


def solver_stage(
    bench: Workbench, stage: str, network: CapturedNetwork, action: Action, budget: Budget
) -> tuple[CapturedNetwork, PruningPlan]:
    """Train `network` towards the action's structured set; returns it trained (not yet pruned) and the final plan."""
    coupling = find_coupling(network)
    file = bench.folder.stage_file(stage, ".safetensors")
    done = bench.result(stage)
    if done is not None:
        fresh = replace(network, module=copy.deepcopy(network.module))
        return load_weights_into(fresh, file), plan_from_dict(done["plan"])
    trained = replace(network, module=copy.deepcopy(network.module))
    space = bench.space(network, coupling)
    prune = bench.config.prune
    if prune.solver == "magnitude":
        plan = confirmed(space, budget, budget.project(action, space.priced)).plan
        save_network(file, trained)
        bench.folder.finish(stage, {"plan": plan_to_dict(plan), "epochs": 0})
        return solver_stage(bench, stage, network, action, budget)
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

    rates = bench.recipe(stage, epochs, prune.admm_learning_rate, final_rate_share=0.1)
    settings = SolverSettings(
        name=prune.solver,
        epochs=epochs,
        steps=math.ceil(len(bench.train_part) / rates.batch_size),
        rate=rates.learning_rate / (1 - rates.momentum),
        pull_start=prune.pull_start,
        pull_end=prune.pull_end,
        slr_pull=prune.slr_pull,
    )

    def log(residuals: Residuals) -> None:
        bench.folder.events.append({"event": "residuals", "stage": stage, **vars(residuals)})

    stop = StopRule(tolerance=prune.residual_tolerance)
    options = SolverOptions(rho_of_layer=rho_of_layer, stop=stop, on_residuals=log)
    solver = make_solver(settings, weights, project, options)
    summary = bench.train(stage, trained, rates, penalty=solver)
    ranking = scored(solver.z)
    # The weights have moved: which filters and columns are kept may have changed, and with them the cost.
    plan = confirmed(space, budget, budget.project(action, lambda moved: space.priced(moved, ranking)), ranking).plan
    trained.module.cpu()
    save_network(file, trained)
    bench.folder.finish(stage, {"plan": plan_to_dict(plan), "epochs": summary.epochs})
    return solver_stage(bench, stage, network, action, budget)
