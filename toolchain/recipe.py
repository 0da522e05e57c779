"""How a network is trained: the numbers of one training, and what follows from them."""

import math
from dataclasses import dataclass

from .errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; rates are per batch, `weight_decay` spares biases and batch norm.

    The learning rate warms up over `warmup_share` of the training and falls to `final_rate_share` of its peak.

    Attributes:
        label_smoothing: Share of the target that is spread over all classes, in [0, 1).
        ema_decay: Where above 0, the training ends with an exponential moving average of its weights.
        compile: `on`, `off`, or `auto`: torch.compile where it helps.
        batch_parts: Parts of every batch; batch norm sees one part at a time (see `replica`).
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
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    compile: str = "off"
    batch_parts: int = 1
    seed: int = 0

    def learning_rate_at(self, progress: float) -> float:
        """Learning rate at `progress` in [0, 1): linear warm-up, then cosine."""
        if progress < self.warmup_share:
            return self.learning_rate * (progress + 1e-3) / (self.warmup_share + 1e-3)
        after = (progress - self.warmup_share) / (1 - self.warmup_share)
        falling = 0.5 * (1 + math.cos(math.pi * after))
        return self.learning_rate * (self.final_rate_share + (1 - self.final_rate_share) * falling)

    def steps_per_epoch(self, images: int) -> int:
        """Batches in an epoch over `images` images."""
        return math.ceil(images / self.batch_size)


def resolve_batch_parts(asked: int, *, batch_size: int, processes: int) -> int:
    """Parts that every batch is divided into.

    Args:
        asked: 0 is one part a process. One process does what N do where it is given N parts (and as many threads): not
            by default, because parts of tiny images cost time (two parts of 64 digits 1.2 times one of 128).
        batch_size: Images of a whole batch, over all processes.
        processes: How many there are.

    Raises:
        UsageError: If the processes cannot take equally many parts of at least two images.
    """
    parts = asked or processes
    if parts % processes:
        raise UsageError(f"train.batch_parts is {parts}, but must be a multiple of the {processes} processes (or 0)")
    if batch_size < 2 * parts:
        raise UsageError(
            f"train.batch_size is {batch_size}: {parts} parts of a batch need at least {2 * parts} images, "
            "because batch norm needs two in each"
        )
    return parts
