"""Quick evaluation of a plan: prune by magnitude, re-estimate batch norm, judge on the search part; no retraining.

Images are preprocessed once and stay on the device. With early rejection the search part is judged batch by batch, and
a candidate is given up when its badness, estimated from the images so far, lies above the search's limit by three
standard errors. Nothing random decides, so equal candidates and limits give equal outcomes.
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..batches import Batches
from ..capture import CapturedNetwork
from ..coupling import Coupling
from ..evaluation import Evaluation, evaluate, evaluating, recalibrate_batch_norm
from ..keep_indices import PruningPlan
from ..masking import make_masks
from .prepared_batches import PreparedBatches, prepare

LOSS_WEIGHT = 0.01
WORST_LOSS = 100.0
STANDARD_ERRORS = 3.0
LEAST_DEVIATION = 0.1
_LOOKS = 4
_LEAST_BATCH, _MOST_BATCH = 32, 500


def badness(result: Evaluation) -> float:
    """What a search makes small of accuracy: the share of errors, and a little of the loss to tell equal ones apart."""
    loss = result.loss if math.isfinite(result.loss) else WORST_LOSS
    return 1 - result.accuracy_top1 / 100 + LOSS_WEIGHT * loss


class FastEvaluation:
    """Judges plans of one network; the network itself is never changed.

    Args:
        network: The network that plans refer to.
        coupling: Its coupling groups.
        train: Training images, for batch-norm statistics.
        search: Search images, which judge.
        device: Where to compute.
        images: Search images used.
        recalibration_images: Training images used for the statistics; 0 keeps the stored ones (which rank wrongly at
            high rates).
        early_rejection: Whether hopeless candidates are given up after a part of the images.
    """

    def __init__(
        self,
        network: CapturedNetwork,
        coupling: Coupling,
        *,
        train: Batches,
        search: Batches,
        device: torch.device,
        images: int,
        recalibration_images: int,
        early_rejection: bool = False,
    ) -> None:
        self._network = network
        self._coupling = coupling
        self._images, self._recalibration_images = min(images, len(search)), recalibration_images
        self._train = prepare(train, recalibration_images) if recalibration_images else None
        self._search = prepare(search, self._images)
        self._early = early_rejection
        self._look = min(_MOST_BATCH, max(_LEAST_BATCH, math.ceil(self._images / _LOOKS)))
        if early_rejection and isinstance(self._search, PreparedBatches):
            # Data may be sorted by class: each look must see all of it.
            self._search = self._search.interleaved(math.ceil(self._images / self._look))
        copied = copy.deepcopy(network.module).to(device)
        self._module = copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._original = {name: value.clone() for name, value in self._module.state_dict().items()}

    def __call__(self, plan: PruningPlan, *, reject_above: float = math.inf) -> Evaluation:
        """Accuracy and loss of the network under `plan`.

        Args:
            plan: In the network's indices.
            reject_above: With early rejection: the badness above which an estimate will do.

        Returns:
            The result over all images; over fewer (see its `images`), and with a badness above `reject_above`, where
            the plan was given up.
        """
        self._module.load_state_dict(self._original)
        make_masks(self._network, self._coupling, plan).apply_(self._module)
        if self._train is not None:
            recalibrate_batch_norm(self._module, self._train, images=self._recalibration_images)
        if not self._early:
            return evaluate(self._module, self._search, limit=self._images)
        return self._judge(reject_above)

    def _judge(self, reject_above: float) -> Evaluation:
        tally = _Tally()
        with evaluating(self._module), torch.no_grad():
            for images, labels in self._search.in_order(self._look, limit=self._images):
                tally.add(self._module(images).float(), labels)
                if tally.least_badness(self._images) > reject_above:
                    break
        return tally.evaluation()


@dataclass
class _Tally:
    """Sums over the images judged so far."""

    count: int = 0
    correct: int = 0
    loss: float = 0.0
    squares: float = 0.0

    def add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Count logits ``(n, classes)`` against labels ``(n,)``."""
        losses = torch.nan_to_num(F.cross_entropy(logits, labels, reduction="none"), nan=WORST_LOSS).clamp(
            max=WORST_LOSS
        )
        wrong = (logits.argmax(1) != labels).float()
        self.count += len(labels)
        self.correct += len(labels) - int(wrong.sum())
        self.loss += float(losses.sum())
        self.squares += float((wrong + LOSS_WEIGHT * losses).square().sum())

    def evaluation(self) -> Evaluation:
        """The result over the images so far."""
        return Evaluation(
            accuracy_top1=100.0 * self.correct / self.count, loss=self.loss / self.count, images=self.count
        )

    def least_badness(self, images: int) -> float:
        """The badness over all `images` that is reached all but surely: the mean so far less three standard errors.

        Of a finite set, the part that was judged has no error: hence the factor that ends at 0.
        """
        mean = badness(self.evaluation())
        variance = max(self.squares / self.count - mean * mean, LEAST_DEVIATION**2)
        rest = (images - self.count) / max(images - 1, 1)
        return mean - STANDARD_ERRORS * math.sqrt(variance / self.count * rest)
