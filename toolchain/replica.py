"""One process's side of a training: its copy of the network, and its parts of every batch.

A batch is divided into equal parts, and each process takes as many of them. The loss is the mean over the whole batch,
so gradients are summed over the parts, weighted by their share of the images, then over the processes. Batch norm is
not synchronised: it normalises each part by that part's own statistics (as ghost batch norm does), and every part keeps
its own running statistics through an epoch, which are averaged over the parts at its end. A part's random numbers are
its own, too. One process that takes both parts of a batch therefore does, bit for bit, what two processes do with one
part each; with more parts, sums may be rounded in another order.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..models.data import Augmentation
from .batches import Batches
from .compiled import Forward, compiled, wants_compile
from .distributed import Processes
from .hardware import autocast, training_layout
from .recipe import Recipe

Hook = Callable[[], None]
SEED_STRIDE = 100_003


class Replica:
    """A network under training in one process.

    Args:
        module: The network; moved to `device` and put in training mode.
        batches: All training images.
        augmentation: Applied to every training batch.
        recipe: Rates, number format, seed, parts of a batch.
        device: Where to train.
        teacher: Distilled from where `recipe.distillation` > 0; moved nowhere.
        processes: Those that train together.
        warn: Told what does not work and is done otherwise.
    """

    def __init__(
        self,
        module: nn.Module,
        batches: Batches,
        augmentation: Augmentation,
        recipe: Recipe,
        *,
        device: torch.device,
        teacher: nn.Module | None,
        processes: Processes,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._layout = training_layout(module, device, recipe.precision)
        module.to(device, memory_format=self._layout).train()  # type: ignore[call-overload]
        self.optimizer = _optimizer(module, recipe)
        self._module = module
        self._batches = batches
        self._augmentation = augmentation
        self._recipe = recipe
        self._processes = processes
        self._teacher: Forward | None = teacher if recipe.distillation > 0 else None
        self._forward: Forward = module
        self._mine = processes.parts_of(recipe.batch_parts)
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._statistics = _PartStatistics(module, len(self._mine), recipe.batch_parts, processes)
        self._totals = torch.zeros(recipe.batch_parts, dtype=torch.float64, device=device)
        if wants_compile(recipe.compile, device, recipe.epochs * recipe.steps_per_epoch(len(batches))):
            self._compile(teacher, warn)

    def epoch(
        self,
        epoch: int,
        *,
        after_first_part: Hook | None = None,
        on_loss: Callable[[torch.Tensor], None] | None = None,
        after_step: Hook | None = None,
    ) -> float:
        """Train for one epoch.

        Args:
            epoch: Its number, from 0; with the recipe's seed it decides everything random.
            after_first_part: Called in every step, when the gradients are those of this process's first part: what it
                adds to them on one process is summed over all. So it is given on process 0 only.
            on_loss: Given every step's loss, the mean over the whole batch, a detached scalar.
            after_step: Called after every step of the optimizer.

        Returns:
            Mean loss over the images, over all processes.

        Raises:
            LostProcessError: If another process is gone.
        """
        recipe, seed = self._recipe, self._recipe.seed * SEED_STRIDE + epoch
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # dropout
        steps = recipe.steps_per_epoch(len(self._batches))
        self._totals.zero_()
        images = 0
        shuffled = self._batches.shuffled(
            recipe.batch_size, self._augmentation, generator, parts=recipe.batch_parts, mine=self._mine
        )
        for step, parts in enumerate(shuffled):
            rate = recipe.learning_rate_at((epoch * steps + step) / (recipe.epochs * steps))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.zero_grad(set_to_none=True)
            loss = torch.zeros((), device=self._totals.device)
            for number, part in enumerate(parts):
                if part.seed is not None:
                    torch.manual_seed(part.seed)
                with self._statistics.of(number):
                    value = self._loss(part.images.contiguous(memory_format=self._layout), part.labels)
                (value * part.share).backward()  # type: ignore[no-untyped-call]
                loss = loss + value.detach() * part.share
                self._totals[self._mine[number]] += value.detach().double() * len(part.labels)
                if number == 0 and after_first_part is not None:
                    after_first_part()
            loss = self._summed(loss)
            if on_loss is not None:
                on_loss(loss)
            self.optimizer.step()
            images += parts[0].batch_images
            if after_step is not None:
                after_step()
        self._statistics.merge()
        self._processes.all_reduce(self._totals)
        return float(sum(self._totals.tolist()) / max(images, 1))

    def _loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        recipe = self._recipe
        with autocast(images.device, recipe.precision):
            logits = self._forward(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        if self._teacher is None:
            return loss
        with torch.no_grad(), autocast(images.device, recipe.precision):
            wanted = self._teacher(images)
        t = recipe.temperature
        soft = F.kl_div(
            F.log_softmax(logits.float() / t, 1),
            F.log_softmax(wanted.float() / t, 1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - recipe.distillation) * loss + recipe.distillation * t * t * soft

    def _summed(self, loss: torch.Tensor) -> torch.Tensor:
        """Sum the gradients over all processes in place, as one flat tensor, and with them the loss."""
        if self._processes.size == 1:
            return loss
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), loss.reshape(1)])
        self._processes.all_reduce(flat)
        *pieces, total = torch.split(flat, [*(gradient.numel() for gradient in gradients), 1])
        torch._foreach_copy_(gradients, [piece.view(g.shape) for piece, g in zip(pieces, gradients, strict=True)])
        return total.reshape(())

    def _compile(self, teacher: nn.Module | None, warn: Callable[[str], None] | None) -> None:
        torch.compiler.reset()  # code of earlier networks would count towards dynamo's limit
        full = self._recipe.batch_size // self._recipe.batch_parts
        rest = (len(self._batches) % self._recipe.batch_size) // self._recipe.batch_parts
        images = next(self._batches.in_order(full))[0]
        examples = [images, *([images[:rest]] if 1 < rest < len(images) else [])]
        precision = self._recipe.precision
        self._forward = compiled(self._module, examples, precision=precision, gradients=True, warn=warn)
        if self._teacher is not None and teacher is not None and self._forward is not self._module:
            self._teacher = compiled(teacher, examples, precision=precision, gradients=False, warn=warn)


class _PartStatistics:
    """Running statistics of batch norm, kept for each part of the batch and averaged at an epoch's end."""

    def __init__(self, module: nn.Module, own: int, parts: int, processes: Processes) -> None:
        norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
        buffers = [buffer for norm in norms for buffer in norm.buffers(recurse=False)]
        self._floats = [buffer for buffer in buffers if buffer.is_floating_point()]
        self._buffers = self._floats + [buffer for buffer in buffers if not buffer.is_floating_point()]
        # With one part a process, the module's own buffers serve.
        self._sets = [[buffer.clone() for buffer in self._buffers] for _ in range(own)] if own > 1 else []
        self._fresh = True
        self._parts = parts
        self._processes = processes

    @contextmanager
    def of(self, number: int) -> Iterator[None]:
        """Lend the module the statistics of this process's part `number`; what a forward pass makes of them is kept."""
        if not self._sets or not self._buffers:
            yield
            return
        if self._fresh:  # as loaded or merged, the same for every part
            for kept in self._sets:
                torch._foreach_copy_(kept, self._buffers)
            self._fresh = False
        torch._foreach_copy_(self._buffers, self._sets[number])
        yield
        torch._foreach_copy_(self._sets[number], self._buffers)

    def merge(self) -> None:
        """Average the statistics over all parts, and leave the average in the module."""
        if self._parts == 1 or not self._floats:
            return
        count = len(self._floats)
        flat = _flat(self._sets[0][:count] if self._sets else self._floats)
        for kept in self._sets[1:]:
            flat += _flat(kept[:count])
        self._processes.all_reduce(flat)
        pieces = torch.split(flat / self._parts, [buffer.numel() for buffer in self._floats])
        torch._foreach_copy_(self._floats, [p.view(b.shape) for p, b in zip(pieces, self._floats, strict=True)])
        if self._sets:
            torch._foreach_copy_(self._buffers[count:], self._sets[0][count:])
        self._fresh = True


def _flat(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    decayed = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    spared = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True)
