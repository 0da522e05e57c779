import pytest
import torch
from act.toolchain.solvers.admm import Admm, RhoSchedule
from act.toolchain.solvers.base import Residuals, SolverOptions
from torch import nn


def keep_two_largest(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    projected = {}
    for name, value in values.items():
        kept = value.abs().topk(2).indices
        projected[name] = torch.zeros_like(value).index_put((kept,), value[kept])
    return projected


def solve(epochs: int, schedule: RhoSchedule) -> tuple[nn.Parameter, list[Residuals]]:
    """Least squares towards (5, 4, 3, 2) with at most two non-zeros; the answer is (5, 4, 0, 0)."""
    wanted = torch.tensor([5.0, 4.0, 3.0, 2.0])
    weight = nn.Parameter(wanted.clone())
    seen: list[Residuals] = []
    solver = Admm({"w": weight}, keep_two_largest, schedule, SolverOptions(on_residuals=seen.append))
    for epoch in range(epochs):
        for _ in range(50):
            weight.grad = None
            (0.5 * (weight - wanted).square().sum()).backward()
            solver.add_gradients()
            with torch.no_grad():
                weight -= 0.02 * weight.grad
        solver.end_epoch(epoch)
    return weight, seen


def test_weights_are_driven_onto_the_set_and_residuals_fall() -> None:
    weight, seen = solve(40, RhoSchedule(start=0.1, end=10.0, epochs=40))
    assert torch.allclose(weight[:2], torch.tensor([5.0, 4.0]), atol=0.1)
    assert weight[2:].abs().max() < 0.15
    assert seen[-1].primal_residual < 0.05 < seen[0].primal_residual


def test_rho_grows_geometrically() -> None:
    schedule = RhoSchedule(start=1e-4, end=1e-1, epochs=4)
    assert [schedule.at(epoch) for epoch in range(5)] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1e-1])


def test_the_gradient_is_that_of_the_squared_norm_penalty() -> None:
    weight = nn.Parameter(torch.tensor([3.0, -2.0, 1.0]))
    solver = Admm({"w": weight}, keep_two_largest, RhoSchedule(start=0.5, end=0.5, epochs=2))
    solver.load_state_dict({"rho": 0.5, "z": {"w": torch.tensor([3.0, -2.0, 0.0])}, "u": {"w": torch.full((3,), 0.1)}})
    weight.grad = torch.zeros(3)
    solver.add_gradients()
    free = weight.detach().clone().requires_grad_()
    (0.25 * (free - torch.tensor([3.0, -2.0, 0.0]) + 0.1).square().sum()).backward()
    assert torch.allclose(weight.grad, free.grad)


def test_the_dual_is_rescaled_when_rho_grows() -> None:
    weight = nn.Parameter(torch.tensor([3.0, -2.0, 1.0]))
    solver = Admm({"w": weight}, keep_two_largest, RhoSchedule(start=0.1, end=1.0, epochs=2))
    solver.end_epoch(0)
    state = solver.state_dict()
    assert state["rho"] == pytest.approx(1.0)
    assert torch.allclose(state["u"]["w"], torch.tensor([0.0, 0.0, 0.1]))  # 1.0 · (0.1 / 1.0)


def test_the_auxiliary_variable_does_not_alias_the_weight() -> None:
    weight = nn.Parameter(torch.tensor([3.0, -2.0, 1.0]))
    solver = Admm({"w": weight}, keep_two_largest, RhoSchedule(start=0.1, end=1.0, epochs=2))
    with torch.no_grad():
        weight.fill_(9.0)
    assert solver.state_dict()["z"]["w"].tolist() == [3.0, -2.0, 0.0]


def test_a_restored_solver_goes_on_as_the_first() -> None:
    first = nn.Parameter(torch.tensor([3.0, -2.0, 1.0]))
    schedule = RhoSchedule(start=0.1, end=1.0, epochs=3)
    solver = Admm({"w": first}, keep_two_largest, schedule)
    solver.end_epoch(0)
    second = nn.Parameter(first.detach().clone())
    restored = Admm({"w": second}, keep_two_largest, schedule)
    restored.load_state_dict(solver.state_dict())
    for each in (solver, restored):
        each.end_epoch(1)
    assert torch.equal(solver.target()["w"], restored.target()["w"])


def test_the_choice_is_settled_in_the_second_half() -> None:
    weight = nn.Parameter(torch.tensor([3.0, -2.0, 1.0]))
    solver = Admm({"w": weight}, keep_two_largest, RhoSchedule(start=0.1, end=0.1, epochs=4))
    with torch.no_grad():
        weight.copy_(torch.tensor([3.0, 1.0, -2.0]))
    solver.end_epoch(0)
    assert torch.nonzero(solver.z["w"]).flatten().tolist() == [0, 2]
    with torch.no_grad():
        weight.copy_(torch.tensor([3.0, 9.0, -2.0]))
    solver.end_epoch(2)
    assert torch.nonzero(solver.z["w"]).flatten().tolist() == [0, 2]
