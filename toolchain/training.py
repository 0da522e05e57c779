"""The one training loop: dense training, ADMM steps, retraining and distillation.

Loss: cross-entropy with smoothed labels, or with a teacher `(1 - a)·CE + a·T²·KL(teacher/T ‖ student/T)`. Learning
rate: linear warm-up, then cosine. Every random number of an epoch comes from a generator seeded by (seed, epoch), so a
run resumed at an epoch's start repeats exactly what an uninterrupted one does. What happens inside an epoch is in
`replica`; here are its surroundings: checkpoints, the solver's penalty, the average of weights, and the processes that
train together. Of these, process 0 alone has the penalty, the average and the checkpoint: what the penalty adds to its
gradients reaches the others when gradients are summed.
"""

import io
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ..models.data import Augmentation
from .batches import Batches
from .distributed import Processes
from .evaluation import recalibrate_batch_norm
from .hardware import compute_device
from .recipe import Recipe
from .replica import Replica
from .run_folder import write_atomic
from .weight_average import WeightAverage

AVERAGE_STATISTICS_IMAGES = 4096


class Penalty(Protocol):
    """What a pruning solver adds to training."""

    def add_gradients(self) -> None:
        """Add the penalty's gradient in place, after a backward pass and before the step."""

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
    warn: Callable[[str], None] | None = None,
    processes: Processes | None = None,
) -> TrainingSummary:
    """Train `module` in place.

    Args:
        module: The network; moved to `device`, left in evaluation mode.
        batches: Training images.
        augmentation: Applied to every training batch.
        recipe: Epochs, rates, number format, seed.
        device: Where to train.
        teacher: Distilled from where `recipe.distillation` > 0.
        penalty: A solver's penalty, added to the gradients; the weights are then not averaged, whatever the recipe
            says, because the solver pulls on the weights themselves.
        checkpoint: File that keeps the position after each epoch; training continues from it where it exists.
        on_epoch: Called with (epochs done, mean loss of the last).
        warn: Told what does not work here and is done otherwise.
        processes: Those that train together; called on process 0, while the others `serve`.

    Raises:
        LostProcessError: If another process is gone; the checkpoint holds the last finished epoch.
    """
    began = time.perf_counter()
    processes = processes or Processes()
    replica = Replica(
        module,
        batches,
        augmentation,
        recipe,
        device=device,
        teacher=teacher,
        processes=processes,
        warn=warn,
    )
    average = WeightAverage(module, recipe.ema_decay) if recipe.ema_decay > 0 and penalty is None else None
    position = _Position(checkpoint, module, replica.optimizer, penalty, average)
    first, loss = position.restore()
    if processes.size > 1:
        _send(processes, module, batches, augmentation, recipe, teacher, replica.optimizer, first)
    done = first
    for epoch in range(first, recipe.epochs):
        if penalty is not None and penalty.converged:
            break
        processes.goes_on(True)
        loss = replica.epoch(
            epoch,
            after_first_part=penalty.add_gradients if penalty is not None else None,
            on_loss=penalty.on_loss if penalty is not None else None,
            after_step=average.update if average is not None else None,
        )
        if penalty is not None:
            penalty.end_epoch(epoch)
        done = epoch + 1
        position.save(done, loss)
        if on_epoch is not None:
            on_epoch(done, loss)
    processes.goes_on(False)
    if average is not None:
        average.apply()
        recalibrate_batch_norm(module, batches, images=AVERAGE_STATISTICS_IMAGES, precision=recipe.precision)
    module.eval()
    return TrainingSummary(epochs=done, seconds=time.perf_counter() - began, loss=loss)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A training, as process 0 sends it to the others; `batches` is None where they hold those of that number."""

    module: nn.Module
    batches_number: int
    batches: Batches | None
    augmentation: Augmentation
    recipe: Recipe
    teacher: nn.Module | None
    optimizer: dict[str, Any]
    first_epoch: int
    threads: int


def serve(processes: Processes) -> None:
    """Take this process's parts in all trainings of process 0, until that has ended.

    Raises:
        LostProcessError: If process 0 or another process is gone.
    """
    device = compute_device()
    held: dict[int, Batches] = {}
    while (paths := processes.receive(device)) is not None:
        sys.path.extend(path for path in paths if path not in sys.path)  # a user's network is imported by name
        job: _Job = processes.receive(device)
        if job.batches is not None:
            held[job.batches_number] = job.batches
        torch.set_num_threads(job.threads)
        replica = Replica(
            job.module,
            held[job.batches_number],
            job.augmentation,
            job.recipe,
            device=device,
            teacher=job.teacher,
            processes=processes,
        )
        replica.optimizer.load_state_dict(job.optimizer)
        epoch = job.first_epoch
        while processes.goes_on():
            replica.epoch(epoch)
            epoch += 1


def _send(
    processes: Processes,
    module: nn.Module,
    batches: Batches,
    augmentation: Augmentation,
    recipe: Recipe,
    teacher: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    first_epoch: int,
) -> None:
    number = id(batches)  # stays its own, because `sent` keeps the object alive
    processes.send(list(sys.path))
    processes.send(
        _Job(
            module=module,
            batches_number=number,
            batches=None if number in processes.sent else batches,
            augmentation=augmentation,
            recipe=recipe,
            teacher=teacher if recipe.distillation > 0 else None,
            optimizer=optimizer.state_dict(),
            first_epoch=first_epoch,
            threads=torch.get_num_threads(),
        )
    )
    processes.sent[number] = batches


class _Position:
    """Where a training stands, in its checkpoint file: everything that the epochs after it depend on."""

    def __init__(
        self,
        path: Path | None,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        penalty: Penalty | None,
        average: WeightAverage | None,
    ) -> None:
        self._path = path
        parts: dict[str, Any] = {"module": module, "optimizer": optimizer, "penalty": penalty, "average": average}
        self._parts = {name: part for name, part in parts.items() if part is not None}

    def save(self, epoch: int, loss: float) -> None:
        """Write the position after `epoch` epochs, the last of which had the mean loss `loss`."""
        if self._path is None:
            return
        state = {name: part.state_dict() for name, part in self._parts.items()}
        buffer = io.BytesIO()
        torch.save({"epoch": epoch, "loss": loss, **state}, buffer)
        write_atomic(self._path, buffer.getvalue())

    def restore(self) -> tuple[int, float]:
        """Load what `save` wrote; returns the epochs done and the last loss, `(0, nan)` where there is nothing."""
        if self._path is None or not self._path.exists():
            return 0, float("nan")
        state = torch.load(self._path, weights_only=True, map_location="cpu")
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        return int(state["epoch"]), float(state["loss"])
