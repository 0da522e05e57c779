"""Accuracy of a network on a part of the data, and batch-norm statistics estimated anew.

A pruned network's stored batch-norm statistics belong to the unpruned one: judged with them it ranks wrongly at high
rates, so quick evaluation re-estimates them on a few hundred training images first (EagleEye, arXiv:2007.02491).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..models.data import ImageSet
from ..models.preprocessing import Preprocessing
from .batches import Batches, OrderedBatches
from .hardware import autocast


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Top-1 accuracy in percent and mean cross-entropy in nats over `images` images."""

    accuracy_top1: float
    loss: float
    images: int


def evaluate(
    module: nn.Module,
    batches: OrderedBatches,
    *,
    precision: str = "fp32",
    batch_size: int = 500,
    limit: int | None = None,
) -> Evaluation:
    """Judge `module` in evaluation mode on the first `limit` images of `batches`, at most `batch_size` at a time."""
    correct, loss, count = 0, 0.0, 0
    with evaluating(module), torch.no_grad():
        for images, labels in batches.in_order(batches.at_once(batch_size), limit=limit):
            with autocast(images.device, precision):
                logits = module(images)
            logits = logits.float()
            correct += int((logits.argmax(1) == labels).sum())
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
            count += len(labels)
    return Evaluation(accuracy_top1=100.0 * correct / count, loss=loss / count, images=count)


def accuracy(
    module: nn.Module,
    image_set: ImageSet,
    preprocessing: Preprocessing,
    *,
    batch_size: int = 500,
    device: str = "cpu",
    precision: str = "fp32",
) -> float:
    """Top-1 accuracy in percent of `module` on all of `image_set`."""
    place = torch.device(device)
    batches = Batches(image_set, preprocessing, place)
    return evaluate(module.to(place), batches, precision=precision, batch_size=batch_size).accuracy_top1


def recalibrate_batch_norm(
    module: nn.Module, batches: OrderedBatches, *, images: int, precision: str = "fp32", batch_size: int = 256
) -> None:
    """Replace the running statistics of every batch norm by those of the first `images` images of `batches`."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    with evaluating(module), torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches
            norm.train()
        for inputs, _ in batches.in_order(batches.at_once(batch_size), limit=images):
            if len(inputs) > 1:
                with autocast(inputs.device, precision):
                    module(inputs)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put `module` in evaluation mode, and each of its modules back in its own mode afterwards."""
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for m, training in modes.items():
            m.training = training
