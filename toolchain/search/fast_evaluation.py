"""Quick evaluation of a plan: prune by magnitude, re-estimate batch norm, judge on the search part; no retraining."""

import copy

import torch

from ..batches import Batches
from ..capture import CapturedNetwork
from ..coupling import Coupling
from ..evaluation import Evaluation, evaluate, recalibrate_batch_norm
from ..keep_indices import PruningPlan
from ..masking import make_masks


class FastEvaluation:
    """Judges plans of one network; the network itself is never changed.

    Args:
        network: The network that plans refer to.
        coupling: Its coupling groups.
        train: Training images, for batch-norm statistics.
        search: Search images, which judge.
        device: Where to compute.
        images: Search images used.
        recalibration_images: Training images used for the statistics.
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
    ) -> None:
        self._network = network
        self._coupling = coupling
        self._train, self._search = train.first(recalibration_images), search.first(images)
        self._images, self._recalibration_images = images, recalibration_images
        copied = copy.deepcopy(network.module).to(device)
        self._module = copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._original = {name: value.clone() for name, value in self._module.state_dict().items()}

    def __call__(self, plan: PruningPlan) -> Evaluation:
        """Accuracy and loss of the network under `plan`."""
        self._module.load_state_dict(self._original)
        make_masks(self._network, self._coupling, plan).apply_(self._module)
        recalibrate_batch_norm(self._module, self._train, images=self._recalibration_images)
        return evaluate(self._module, self._search, limit=self._images)
