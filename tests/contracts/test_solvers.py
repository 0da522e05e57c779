"""What every pruning solver must do. A new solver is one more name in `SOLVERS`."""

from __future__ import annotations

import copy
import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from act.models.data import DataSplits, load_data
from act.models.registry import create_model
from act.toolchain.batches import Batches
from act.toolchain.capture import CapturedNetwork, capture
from act.toolchain.coupling import find_coupling
from act.toolchain.evaluation import evaluate
from act.toolchain.folding import weighted_modules
from act.toolchain.granularity import Combined
from act.toolchain.keep_indices import PruningPlan
from act.toolchain.masking import make_masks, masked_weights
from act.toolchain.scores import Scores
from act.toolchain.search.action import Action
from act.toolchain.search.plan_space import PlanSpace
from act.toolchain.solvers.base import Residuals, Solver, SolverOptions, StopRule, Weights
from act.toolchain.solvers.selection import SOLVERS, SolverSettings, make_solver
from act.toolchain.training import Recipe, train
from torch import nn

CPU = torch.device("cpu")
EPOCHS, STEPS, RATE = 40, 50, 0.02
WANTED = {"a": torch.tensor([5.0, 4.0, 3.0, 2.0]), "b": torch.tensor([1.0, -6.0, 2.0])}

every_solver = pytest.mark.parametrize("name", SOLVERS)


def settings(name: str, **changes: Any) -> SolverSettings:
    defaults = {
        "name": name,
        "epochs": EPOCHS,
        "steps": STEPS,
        "rate": RATE,
        "pull_start": 0.1,
        "pull_end": 10.0,
        "slr_pull": 3.0,
    }
    return SolverSettings(**{**defaults, **changes})


def keep_two_largest(values: Weights) -> Weights:
    projected = {}
    for name, value in values.items():
        kept = value.abs().topk(2).indices
        projected[name] = torch.zeros_like(value).index_put((kept,), value[kept])
    return projected


def fresh_weights() -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(value.clone()) for name, value in WANTED.items()}


def train_epoch(weights: dict[str, nn.Parameter], solver: Solver, epoch: int) -> None:
    """Gradient descent on least squares towards `WANTED`, with the solver's pull."""
    for _ in range(STEPS):
        for weight in weights.values():
            weight.grad = None
        loss = sum(0.5 * (weights[name] - wanted).square().sum() for name, wanted in WANTED.items())
        loss.backward()
        solver.on_loss(loss.detach())
        solver.add_gradients()
        with torch.no_grad():
            for weight in weights.values():
                weight -= RATE * weight.grad
    solver.end_epoch(epoch)


def end_epoch(solver: Solver, epoch: int, loss: float = 1.0) -> None:
    """An epoch that moves nothing."""
    solver.on_loss(torch.tensor(loss))
    solver.end_epoch(epoch)


@every_solver
def test_the_primal_residual_falls_and_z_is_always_feasible(name: str) -> None:
    weights, seen = fresh_weights(), []
    solver = make_solver(settings(name), weights, keep_two_largest, SolverOptions(on_residuals=seen.append))
    assert solver.residuals is None
    for epoch in range(EPOCHS):
        train_epoch(weights, solver, epoch)
        assert all(int(torch.count_nonzero(z)) <= 2 for z in solver.z.values())
    assert [residuals.epoch for residuals in seen] == list(range(EPOCHS))
    assert solver.residuals == seen[-1]
    assert seen[-1].primal_residual < 0.15 * max(residuals.primal_residual for residuals in seen)
    assert seen[-1].dual_residual < 0.1
    assert seen[-1].layer_primal.keys() == seen[-1].layer_dual.keys() == WANTED.keys()
    assert weights["a"].detach()[:2].tolist() == pytest.approx([5.0, 4.0], abs=0.3)
    assert weights["a"].detach()[2:].abs().max() < 0.6


@every_solver
def test_residuals_are_what_they_say(name: str) -> None:
    weights = fresh_weights()
    solver = make_solver(settings(name), weights, keep_two_largest)
    before = solver.z
    with torch.no_grad():
        weights["a"].copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    end_epoch(solver, 0)
    residuals = solver.residuals
    size = {key: float(weight.detach().norm()) for key, weight in weights.items()}
    primal = {key: float((weights[key].detach() - solver.z[key]).norm()) for key in weights}
    dual = {key: float((solver.z[key] - before[key]).norm()) for key in weights}

    def overall(parts: dict[str, float]) -> float:
        return sum(part**2 for part in parts.values()) ** 0.5

    assert residuals.primal_residual == pytest.approx(overall(primal) / overall(size), rel=1e-5)
    assert residuals.dual_residual == pytest.approx(overall(dual) / overall(size), rel=1e-5)
    for key in weights:
        assert residuals.layer_primal[key] == pytest.approx(primal[key] / size[key], rel=1e-3)
        assert residuals.layer_dual[key] == pytest.approx(dual[key] / size[key], rel=1e-3, abs=1e-6)


@every_solver
@pytest.mark.parametrize("stop_after", [1, 7, 25])
def test_a_restored_solver_goes_on_bit_for_bit(name: str, stop_after: int) -> None:
    weights = fresh_weights()
    solver = make_solver(settings(name), weights, keep_two_largest)
    for epoch in range(stop_after):
        train_epoch(weights, solver, epoch)
    buffer = io.BytesIO()
    torch.save({"weights": dict(weights), "solver": solver.state_dict()}, buffer)
    for epoch in range(stop_after, EPOCHS):
        train_epoch(weights, solver, epoch)

    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    again = fresh_weights()
    restored = make_solver(settings(name), again, keep_two_largest)
    with torch.no_grad():
        for key, value in saved["weights"].items():
            again[key].copy_(value)
    restored.load_state_dict(saved["solver"])
    for epoch in range(stop_after, EPOCHS):
        train_epoch(again, restored, epoch)
    for key in weights:
        assert torch.equal(weights[key], again[key])
        assert torch.equal(solver.z[key], restored.z[key])
    assert solver.residuals == restored.residuals


@every_solver
def test_the_pull_is_stronger_on_a_layer_with_a_larger_multiplier(name: str) -> None:
    distances = {}
    for multiplier in (1.0, 8.0):
        weights = fresh_weights()
        solver = make_solver(settings(name), weights, keep_two_largest, SolverOptions(rho_of_layer={"a": multiplier}))
        for epoch in range(5):
            train_epoch(weights, solver, epoch)
        distances[multiplier] = {key: float((weights[key].detach() - solver.z[key]).norm()) for key in weights}
    assert distances[8.0]["a"] < 0.7 * distances[1.0]["a"]
    if name == "admm":  # SLR's step size ties the layers together
        assert distances[8.0]["b"] == distances[1.0]["b"]


@every_solver
def test_it_converges_only_after_calm_epochs_and_stays_so_when_restored(name: str) -> None:
    weights = fresh_weights()
    rule = StopRule(tolerance=1e-3, epochs=2)
    solver = make_solver(settings(name), weights, keep_two_largest, SolverOptions(stop=rule))
    with torch.no_grad():
        for key, z in solver.z.items():
            weights[key].copy_(z)
    calm = []
    for epoch in range(4):
        assert not solver.converged or epoch >= 2
        end_epoch(solver, epoch)
        calm.append(solver.converged)
    assert calm[0] is False
    assert calm[-1] is True
    restored = make_solver(settings(name), fresh_weights(), keep_two_largest, SolverOptions(stop=rule))
    assert not restored.converged
    restored.load_state_dict(solver.state_dict())
    assert restored.converged
    never = make_solver(settings(name), weights, keep_two_largest)
    for epoch in range(4):
        end_epoch(never, epoch)
    assert not never.converged


# A small real network: hard pruning after the solver must cost less than pruning by magnitude at once.

RECIPE = Recipe(epochs=12, learning_rate=0.05, batch_size=32, seed=3)


@pytest.fixture(scope="module")
def data() -> DataSplits:
    return load_data("digits", seed=0, limit_train=400)


@pytest.fixture(scope="module")
def trained(data: DataSplits) -> CapturedNetwork:
    torch.manual_seed(0)
    model = create_model("lenet5", in_channels=1, num_classes=10, image_height=8, image_width=8)
    train(model, Batches(data.train, data.preprocessing, CPU), data.augmentation, RECIPE, device=CPU)
    return capture(model, (1, 8, 8))


def pruned_accuracy(network: CapturedNetwork, plan: PruningPlan, data: DataSplits) -> float:
    module = copy.deepcopy(network.module)
    make_masks(network, find_coupling(network), plan).apply_(module)
    return evaluate(module, Batches(data.search, data.preprocessing, CPU)).accuracy_top1


@every_solver
def test_hard_pruning_after_it_loses_less_than_magnitude_at_once(
    name: str, trained: CapturedNetwork, data: DataSplits
) -> None:
    coupling = find_coupling(trained)
    weights = {key: module.weight.detach() for key, module in weighted_modules(trained).items()}
    space = PlanSpace(trained, coupling, weights, granularity=Combined(), latency_of=None)
    action = Action(
        filter_ratio=dict.fromkeys(space.actions.group_share, 0.5),
        column_ratio=dict.fromkeys(space.actions.layer_share, 0.6),
    )
    at_once = pruned_accuracy(trained, space.plan(action), data)
    network = replace(trained, module=copy.deepcopy(trained.module))
    parameters = {key: module.weight for key, module in weighted_modules(network).items()}
    batches = Batches(data.train, data.preprocessing, CPU)
    recipe = Recipe(epochs=10, learning_rate=0.02, batch_size=32, seed=4, final_rate_share=0.1)

    def project(values: Weights) -> Weights:
        return masked_weights(values, coupling, space.plan(action, Scores(coupling, {**weights, **values})))

    seen: list[Residuals] = []
    solver = make_solver(
        settings(name, epochs=10, steps=13, rate=0.2, pull_start=0.05, pull_end=3.0, slr_pull=1.0),
        parameters,
        project,
        SolverOptions(on_residuals=seen.append),
    )
    train(network.module, batches, data.augmentation, recipe, device=CPU, penalty=solver)
    after = pruned_accuracy(network, space.plan(action, Scores(coupling, {**weights, **solver.z})), data)
    assert seen[-1].primal_residual < 0.5 * seen[0].primal_residual
    assert after > at_once + 5
