"""The one training loop: dense training, ADMM steps, retraining and distillation.

Loss: cross-entropy, or with a teacher `(1 - a)·CE + a·T²·KL(teacher/T ‖ student/T)`. Learning rate: linear warm-up,
then cosine. Every random number of an epoch comes from a generator seeded by (seed, epoch), so a run resumed
at an epoch's start repeats exactly what an uninterrupted one does.
"""

import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from ..models.data import Augmentation
from .batches import Batches
from .hardware import autocast
from .run_folder import write_atomic


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; rates are per batch, `weight_decay` spares biases and batch norm.

    The learning rate warms up over `warmup_share` of the training and falls to `final_rate_share` of its peak.
    """

    epochs: int
    learning_rate: float
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_share: float = 0.05
    final_rate_share: float = 0.0
    precision: str = "fp32"
    distillation: float = 0.0
    temperature: float = 3.0
    seed: int = 0


class Penalty(Protocol):
    """What a pruning solver adds to training."""

    def add_gradients(self) -> None:
        """Add the penalty's gradient in place, after backward and before the step."""

    def on_loss(self, loss: torch.Tensor) -> None:
        """Take note of a step's loss, a detached scalar on the training device."""

    def end_epoch(self, epoch: int) -> None:
        """Update the auxiliary variables after epoch `epoch` (from 0)."""

    @property
    def converged(self) -> bool:
        """Whether more training would change nothing: it ends early then."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers that a resumed training needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""


@dataclass(frozen=True, kw_only=True)
class TrainingSummary:
    """What one training did; fewer epochs than asked for where its solver had converged."""

    epochs: int
    seconds: float
    loss: float


def train(
    module: nn.Module,
    batches: Batches,
    augmentation: Augmentation,
    recipe: Recipe,
    *,
    device: torch.device,
    teacher: nn.Module | None = None,
    penalty: Penalty | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> TrainingSummary:
    """Train `module` in place.

    Args:
        module: The network; moved to `device`, left in evaluation mode.
        batches: Training images.
        augmentation: Applied to every training batch.
        recipe: Epochs, rates, number format, seed.
        device: Where to train.
        teacher: Distilled from where `recipe.distillation` > 0.
        penalty: A solver's penalty, added to the gradients.
        checkpoint: File that keeps the position after each epoch; training continues from it where it exists.
        on_epoch: Called with (epochs done, mean loss of the last).
    """
    began = time.perf_counter()
    module.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = _optimizer(module, recipe)
    first = _restore(checkpoint, module, optimizer, penalty) if checkpoint else 0
    steps = math.ceil(len(batches) / recipe.batch_size)
    loss = float("nan")
    done = first
    for epoch in range(first, recipe.epochs):
        if penalty is not None and penalty.converged:
            break
        generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
        torch.manual_seed(recipe.seed * 100_003 + epoch)  # dropout
        total, count = 0.0, 0
        for step, (images, labels) in enumerate(batches.shuffled(recipe.batch_size, augmentation, generator)):
            rate = _learning_rate(recipe, (epoch * steps + step) / (recipe.epochs * steps))
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            value = _loss(module, images, labels, teacher, recipe)
            value.backward()  # type: ignore[no-untyped-call]
            if penalty is not None:
                penalty.on_loss(value.detach())
                penalty.add_gradients()
            optimizer.step()
            total += float(value.detach()) * len(labels)
            count += len(labels)
        loss = total / max(count, 1)
        if penalty is not None:
            penalty.end_epoch(epoch)
        if checkpoint is not None:
            _save(checkpoint, module, optimizer, penalty, epoch + 1)
        done = epoch + 1
        if on_epoch is not None:
            on_epoch(done, loss)
    module.eval()
    return TrainingSummary(epochs=done, seconds=time.perf_counter() - began, loss=loss)


def _loss(
    module: nn.Module, images: torch.Tensor, labels: torch.Tensor, teacher: nn.Module | None, recipe: Recipe
) -> torch.Tensor:
    with autocast(images.device, recipe.precision):
        logits = module(images)
    loss = F.cross_entropy(logits.float(), labels)
    if teacher is None or recipe.distillation == 0:
        return loss
    with torch.no_grad(), autocast(images.device, recipe.precision):
        wanted = teacher(images)
    t = recipe.temperature
    soft = F.kl_div(
        F.log_softmax(logits.float() / t, 1),
        F.log_softmax(wanted.float() / t, 1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - recipe.distillation) * loss + recipe.distillation * t * t * soft


def _optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    decayed = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    spared = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True)


def _learning_rate(recipe: Recipe, progress: float) -> float:
    """Learning rate at `progress` in [0, 1): linear warm-up, then cosine."""
    if progress < recipe.warmup_share:
        return recipe.learning_rate * (progress + 1e-3) / (recipe.warmup_share + 1e-3)
    after = (progress - recipe.warmup_share) / (1 - recipe.warmup_share)
    falling = 0.5 * (1 + math.cos(math.pi * after))
    return recipe.learning_rate * (recipe.final_rate_share + (1 - recipe.final_rate_share) * falling)


def _save(path: Path, module: nn.Module, optimizer: torch.optim.SGD, penalty: Penalty | None, epoch: int) -> None:
    state = {"epoch": epoch, "module": module.state_dict(), "optimizer": optimizer.state_dict()}
    if penalty is not None:
        state["penalty"] = penalty.state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def _restore(path: Path, module: nn.Module, optimizer: torch.optim.SGD, penalty: Penalty | None) -> int:
    """Load a position that `_save` wrote; returns the epochs done, 0 where there is none."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True, map_location="cpu")
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    if penalty is not None:
        penalty.load_state_dict(state["penalty"])
    return int(state["epoch"])
