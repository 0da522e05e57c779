import pytest
import torch
from act.toolchain.solvers.slr import Slr, SlrSchedule
from torch import nn

SCHEDULE = SlrSchedule(epochs=100, rho=0.5, first_step=0.05)


def keep_two_largest(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    projected = {}
    for name, value in values.items():
        kept = value.abs().topk(2).indices
        projected[name] = torch.zeros_like(value).index_put((kept,), value[kept])
    return projected


def solver_at(*values: float) -> tuple[nn.Parameter, Slr]:
    weight = nn.Parameter(torch.tensor(values))
    return weight, Slr({"w": weight}, keep_two_largest, SCHEDULE)


def move(weight: nn.Parameter, *values: float) -> None:
    with torch.no_grad():
        weight.copy_(torch.tensor(values))


def end_epoch(solver: Slr, epoch: int, loss: float) -> None:
    solver.on_loss(torch.tensor(loss))
    solver.end_epoch(epoch)


def multipliers(solver: Slr) -> torch.Tensor:
    return solver.state_dict()["scaled"]["w"] * SCHEDULE.rho


def test_the_step_sizes_shrink_ever_more_slowly() -> None:
    paper = SlrSchedule(epochs=1)
    assert (paper.rho, paper.first_step, paper.m, paper.r) == (0.1, 0.01, 300.0, 0.1)
    assert paper.alpha(1) == pytest.approx(1 - 1 / 300)
    assert paper.alpha(50) == pytest.approx(1 - 1 / (300 * 50 ** (1 - 50**-0.1)))
    factors = [paper.alpha(k) for k in range(1, 200)]
    assert factors == sorted(factors)
    assert factors[-1] < 1


def test_only_the_first_update_happens_where_the_projection_does_not_lower_the_lagrangian() -> None:
    weight, solver = solver_at(3.0, -2.0, 1.0)
    move(weight, 3.0, -2.0, 0.5)
    end_epoch(solver, 0, 1.0)
    # After the W-step: Λ = s·(W - Z). Z = Π(W + Λ/rho) is what it was, so k and s stay.
    assert torch.allclose(multipliers(solver), torch.tensor([0.0, 0.0, 0.05 * 0.5]))
    assert solver.state_dict()["updates"] == 0
    assert solver.state_dict()["step"] == pytest.approx(0.05)


def test_both_updates_follow_the_formulas() -> None:
    weight, solver = solver_at(3.0, -2.0, 1.0)
    move(weight, 4.0, -2.0, 0.5)
    end_epoch(solver, 0, 1.0)
    first = 0.05 * torch.tensor([1.0, 0.0, 0.5])  # W - Z with Z = (3, -2, 0)
    z = torch.tensor([4.0 + float(first[0]) / 0.5, -2.0, 0.0])
    difference = torch.tensor([4.0, -2.0, 0.5]) - z
    step = (1 - 1 / 300) * 0.05 * 1.0 / float(difference.norm())
    assert torch.allclose(solver.z["w"], z)
    assert solver.state_dict()["updates"] == 1
    assert solver.state_dict()["step"] == pytest.approx(step)
    assert torch.allclose(multipliers(solver), first + step * difference, atol=1e-6)


def test_multipliers_stay_where_training_raised_the_lagrangian() -> None:
    weight, solver = solver_at(3.0, -2.0, 1.0)
    move(weight, 3.0, -2.0, 0.5)
    end_epoch(solver, 0, 1.0)
    before = multipliers(solver).clone()
    end_epoch(solver, 1, 2.0)  # nothing moved, the loss rose
    assert torch.equal(multipliers(solver), before)


def test_the_gradient_is_that_of_the_lagrangian() -> None:
    weight, solver = solver_at(3.0, -2.0, 1.0)
    solver.load_state_dict({**solver.state_dict(), "scaled": {"w": torch.tensor([0.2, -0.4, 0.6])}})
    weight.grad = torch.zeros(3)
    solver.add_gradients()
    free = weight.detach().clone().requires_grad_()
    difference = free - torch.tensor([3.0, -2.0, 0.0])
    rho = SCHEDULE.rho
    ((rho * torch.tensor([0.2, -0.4, 0.6]) * difference).sum() + rho / 2 * difference.square().sum()).backward()
    assert torch.allclose(weight.grad, free.grad)


def test_weights_on_the_set_already_keep_the_step_size() -> None:
    _, solver = solver_at(3.0, -2.0, 0.0)
    for epoch in range(3):
        end_epoch(solver, epoch, 1.0)
    assert solver.state_dict()["step"] == pytest.approx(0.05)
    assert torch.equal(multipliers(solver), torch.zeros(3))


def test_a_pull_means_the_same_for_every_size_of_data() -> None:
    for steps in (10, 400):
        schedule = SlrSchedule.from_pull(2.0, epochs=5, steps=steps, rate=0.1)
        assert schedule.rho * steps * 0.1 == pytest.approx(2.0)
        assert schedule.first_step == pytest.approx(0.1 * schedule.rho)


def test_the_last_steps_of_an_epoch_count_most() -> None:
    _, solver = solver_at(3.0, -2.0, 0.0)
    for loss in (9.0, *([1.0] * 60)):
        solver.on_loss(torch.tensor(loss))
    solver.end_epoch(0)
    assert solver.state_dict()["value"] == pytest.approx(1.0, abs=0.02)  # the Lagrangian where W = Z
