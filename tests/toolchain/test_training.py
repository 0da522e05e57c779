from dataclasses import replace
from pathlib import Path

import pytest
import torch
from act.models.data import Augmentation, DataError, DataSplits, load_data
from act.models.registry import create_model
from act.toolchain.batches import Batches
from act.toolchain.evaluation import evaluate, recalibrate_batch_norm
from act.toolchain.recipe import Recipe
from act.toolchain.training import train
from torch import nn

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=3, learning_rate=0.05, batch_size=64, seed=5)


@pytest.fixture(scope="module")
def data() -> DataSplits:
    return load_data("digits", seed=0, limit_train=300)


def resnet() -> nn.Module:
    torch.manual_seed(0)
    return create_model("resnet20", num_classes=10, in_channels=1)


@pytest.fixture(scope="module")
def trained(data: DataSplits) -> nn.Module:
    module = resnet()
    batches = Batches(data.train, data.preprocessing, CPU)
    train(module, batches, data.augmentation, replace(RECIPE, epochs=8), device=CPU)
    return module


def test_training_learns_digits(data: DataSplits, trained: nn.Module) -> None:
    search = Batches(data.search, data.preprocessing, CPU)
    before, after = evaluate(resnet(), search), evaluate(trained, search)
    assert after.accuracy_top1 > before.accuracy_top1 + 30
    assert after.loss < before.loss


class KilledError(Exception):
    """Stands for a kill at an epoch's end."""


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, batch_parts=2, ema_decay=0.95)], ids=["plain", "averaged"])
def test_a_training_killed_after_any_epoch_ends_as_the_uninterrupted_one(
    data: DataSplits, tmp_path: Path, recipe: Recipe
) -> None:
    batches = Batches(data.train, data.preprocessing, CPU)
    whole = resnet()
    train(whole, batches, data.augmentation, recipe, device=CPU)

    def kill(epoch: int, loss: float) -> None:
        if epoch == 2:
            raise KilledError

    checkpoint = tmp_path / "position.pt"
    with pytest.raises(KilledError):
        train(resnet(), batches, data.augmentation, recipe, device=CPU, checkpoint=checkpoint, on_epoch=kill)
    again = resnet()
    train(again, batches, data.augmentation, recipe, device=CPU, checkpoint=checkpoint)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


class Rolled(nn.Module):
    """A teacher that answers the class after the right one."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.module(images).roll(1, dims=1)


def test_a_student_of_a_wrong_teacher_learns_its_answers(data: DataSplits, trained: nn.Module) -> None:
    batches = Batches(data.train, data.preprocessing, CPU)
    student = resnet()
    recipe = replace(RECIPE, epochs=8, distillation=1.0, temperature=1.0)
    train(student, batches, data.augmentation, recipe, device=CPU, teacher=Rolled(trained).eval())
    images, labels = next(batches.in_order(300))
    with torch.no_grad():
        answers = student.eval()(images).argmax(1)
    assert (answers == (labels + 1) % 10).float().mean() > 0.6
    assert (answers == labels).float().mean() < 0.2


def test_recalibrated_statistics_are_those_of_the_images(data: DataSplits) -> None:
    batches = Batches(data.train, data.preprocessing, CPU)
    module = resnet()
    seen: list[torch.Tensor] = []
    first = module.get_submodule("conv1")
    handle = first.register_forward_hook(lambda layer, inputs, output: seen.append(output))
    recalibrate_batch_norm(module, batches, images=100, batch_size=100)
    handle.remove()
    norm = module.get_submodule("bn1")
    assert torch.allclose(norm.running_mean, seen[0].mean((0, 2, 3)), atol=1e-5)
    assert norm.momentum == 0.1


def test_evaluation_restores_modes(data: DataSplits) -> None:
    module = resnet().train()
    module.get_submodule("bn1").eval()
    evaluate(module, Batches(data.search, data.preprocessing, CPU), limit=10)
    assert module.training
    assert not module.get_submodule("bn1").training


def test_augmentation_shifts_within_its_bounds(data: DataSplits) -> None:
    record = replace(data.preprocessing, mean=(0.0,), std=(1.0,), scale=1.0)
    images = Batches(data.train, record, CPU)
    originals = torch.cat([image for image, _ in images.in_order(1000)])
    batches = images.shuffled(1000, data.augmentation, torch.Generator().manual_seed(1))
    shifted = torch.cat([part.images for parts in batches for part in parts])
    order = torch.randperm(len(originals), generator=torch.Generator().manual_seed(1))
    padded = nn.functional.pad(originals[order], (1, 1, 1, 1))
    crops = [padded[:, :, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    matches = torch.stack([(shifted == crop).flatten(1).all(1) for crop in crops])
    assert matches.any(0).all()
    assert (matches.float().mean(1) > 0.03).all()


def test_images_of_another_size_are_refused(data: DataSplits) -> None:
    with pytest.raises(DataError, match=r"8x8.*expects 32x32"):
        Batches(data.train, replace(data.preprocessing, height=32, width=32), CPU)


def small() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    return nn.Sequential(*layers)


def fitted(data: DataSplits, recipe: Recipe) -> tuple[nn.Module, Batches]:
    module, batches = small(), Batches(data.train, data.preprocessing, CPU)
    train(module, batches, data.augmentation, recipe, device=CPU)
    return module, batches


def test_smoothed_labels_make_a_network_less_sure(data: DataSplits) -> None:
    sure = []
    for smoothing in (0.0, 0.4):
        module, batches = fitted(data, replace(RECIPE, epochs=10, label_smoothing=smoothing))
        with torch.no_grad():
            logits = module(next(batches.in_order(300))[0])
        sure.append(float(logits.softmax(1).max(1).values.mean()))
    assert sure[1] < sure[0] - 0.15


def test_an_averaged_network_has_the_statistics_of_its_own_weights(data: DataSplits) -> None:
    module, batches = fitted(data, replace(RECIPE, ema_decay=0.95))
    plain, _ = fitted(data, RECIPE)
    assert not torch.equal(module[0].weight, plain[0].weight)
    before = module[1].running_mean.clone()
    recalibrate_batch_norm(module, batches, images=4096)
    assert torch.equal(module[1].running_mean, before)


def test_parts_of_a_batch_weigh_as_many_images_as_they_hold(data: DataSplits) -> None:
    """Without batch norm, dividing a batch changes nothing but rounding, uneven parts included."""
    ends = []
    for parts in (1, 3):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        batches = Batches(data.train, data.preprocessing, CPU)
        train(module, batches, Augmentation(flip=False, shift=0), replace(RECIPE, batch_parts=parts), device=CPU)
        ends.append(module[1].weight.detach())
    # With parts, the generator draws seeds after the order of the images, which stays the same.
    assert torch.allclose(ends[0], ends[1], atol=1e-4)


def test_statistics_of_the_parts_are_averaged(data: DataSplits) -> None:
    one, _ = fitted(data, replace(RECIPE, epochs=6))
    three, _ = fitted(data, replace(RECIPE, epochs=6, batch_parts=3))
    assert three[1].num_batches_tracked == one[1].num_batches_tracked
    assert torch.allclose(three[1].running_var, one[1].running_var, rtol=0.5, atol=0.05)


def test_bf16_keeps_the_weights_in_fp32(data: DataSplits) -> None:
    module, batches = fitted(data, replace(RECIPE, precision="bf16"))
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())
    assert evaluate(module, batches, precision="bf16").accuracy_top1 > 50


def test_a_finished_training_is_not_repeated_and_keeps_its_loss(data: DataSplits, tmp_path: Path) -> None:
    module, batches = small(), Batches(data.train, data.preprocessing, CPU)
    first = train(module, batches, data.augmentation, RECIPE, device=CPU, checkpoint=tmp_path / "position.pt")
    again = train(small(), batches, data.augmentation, RECIPE, device=CPU, checkpoint=tmp_path / "position.pt")
    assert again.loss == first.loss


class Calm:
    """A penalty that does nothing and has converged after two epochs."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.total = 0.0

    @property
    def converged(self) -> bool:
        return len(self.losses) >= 2

    def add_gradients(self) -> None:
        pass

    def on_loss(self, loss: torch.Tensor) -> None:
        self.total += float(loss)

    def end_epoch(self, epoch: int) -> None:
        assert epoch == len(self.losses)
        self.losses.append(self.total)

    def state_dict(self) -> dict[str, list[float]]:
        return {"losses": self.losses}

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        self.losses = list(state["losses"])


def test_training_ends_when_its_solver_has_converged_and_stays_ended(data: DataSplits, tmp_path: Path) -> None:
    batches, module, seen = Batches(data.train, data.preprocessing, CPU), resnet(), []
    checkpoint = tmp_path / "position.pt"
    recipe = replace(RECIPE, epochs=5)
    solver = Calm()
    summary = train(
        module,
        batches,
        data.augmentation,
        recipe,
        device=CPU,
        penalty=solver,
        checkpoint=checkpoint,
        on_epoch=lambda epoch, loss: seen.append(loss),
    )
    assert summary.epochs == 2
    assert len(seen) == 2
    assert 0 < solver.losses[0] < solver.losses[1]
    before = {name: value.clone() for name, value in module.state_dict().items()}
    again = train(module, batches, data.augmentation, recipe, device=CPU, penalty=Calm(), checkpoint=checkpoint)
    assert again.epochs == 2
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
