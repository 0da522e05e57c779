"""What every stage of a run works with, and what it hands on.

A stage that trained hands on what it wrote, read back, so that a resumed run continues from the very same tensors,
memory layout included.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..device.pool import DevicePool
from ..models.data import Augmentation
from ..models.weights import load_into, load_weights
from .batches import Batches
from .capture import CapturedNetwork
from .config import CompressConfig
from .coupling import Coupling, find_coupling
from .distributed import Processes
from .evaluation import Evaluation, evaluate
from .folding import folded_weights, plain_weights
from .granularity import granularity_from_name
from .keep_indices import PruningPlan
from .latency import LatencyCost
from .loading import rebuild, save_network
from .prediction_check import PredictionChecks
from .progress import Progress
from .recipe import Recipe
from .run_folder import RunFolder
from .search.budget import Costs
from .search.fast_evaluation import FastEvaluation
from .search.plan_space import PlanSpace, Prior
from .training import Penalty, TrainingSummary, train


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """What every stage works with."""

    config: CompressConfig
    folder: RunFolder
    progress: Progress
    device: torch.device
    precision: str
    train_part: Batches
    search_part: Batches
    augmentation: Augmentation
    dense: CapturedNetwork
    dense_coupling: Coupling
    teacher: nn.Module
    latency_of: LatencyCost
    epoch_factor: float
    pool: DevicePool | None = None
    predictions: PredictionChecks | None = None
    batch_parts: int = 1
    processes: Processes = field(default_factory=Processes)

    def seed_of(self, stage: str) -> int:
        """A stage's own seed, from the run's seed and the stage's name."""
        return zlib.crc32(f"{self.config.seed}/{stage}".encode()) & 0x7FFFFFFF

    def epochs(self, asked: int) -> int:
        """Epochs for this amount of data: small sets get more."""
        return max(1, round(asked * self.epoch_factor))

    def recipe(self, stage: str, epochs: int, learning_rate: float, *, final_rate_share: float = 0.0) -> Recipe:
        """The training recipe of a stage."""
        train_config = self.config.train
        return Recipe(
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=train_config.batch_size,
            weight_decay=train_config.weight_decay,
            precision=self.precision,
            distillation=train_config.distillation,
            temperature=train_config.temperature,
            label_smoothing=train_config.label_smoothing,
            ema_decay=train_config.ema_decay,
            compile=train_config.compile,
            batch_parts=self.batch_parts,
            final_rate_share=final_rate_share,
            seed=self.seed_of(stage),
        )

    def train(
        self,
        stage: str,
        network: CapturedNetwork,
        recipe: Recipe,
        *,
        penalty: Penalty | None = None,
        title: str | None = None,
    ) -> TrainingSummary:
        """Train a network in place, under a progress bar; an interrupted stage goes on where it stopped.

        Args:
            stage: Names the stage's checkpoint.
            network: Trained on the train part, distilled from the dense network as the recipe says.
            recipe: Epochs, rates and the rest.
            penalty: A pruning solver's; it may end the training early.
            title: What the progress bar says, where it is not the stage.

        Raises:
            LostProcessError: If another process is gone.
        """
        with self.progress.stage(title or stage, total=recipe.epochs, unit="epochs") as bar:
            summary = train(
                network.module,
                self.train_part,
                self.augmentation,
                recipe,
                device=self.device,
                teacher=self.teacher,
                penalty=penalty,
                checkpoint=self.folder.inner_checkpoint(stage),
                on_epoch=lambda epoch, loss: bar.advance(1, f"loss {loss:.3f}"),
                warn=self.progress.warn,
                processes=self.processes,
            )
            if summary.epochs < recipe.epochs:
                bar.say(f"converged after {summary.epochs} of {recipe.epochs} epochs")
        return summary

    def ranking_weights(self, network: CapturedNetwork) -> dict[str, torch.Tensor]:
        """Weights by layer that rank filters and columns."""
        return self.ranked(network, plain_weights(network))

    def ranked(self, network: CapturedNetwork, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`weights` as they are ranked: scaled by batch norm, raw, or so that sums of squares are L1 norms."""
        rank = self.config.prune.rank
        if rank == "folded":
            return folded_weights(network, weights)
        return {name: weight.abs().sqrt() if rank == "l1" else weight for name, weight in weights.items()}

    @property
    def prior(self) -> Prior:
        """What orders the ratios of a search's first action. Latency goes by MACs, which layers share alike."""
        by_weights = self.config.search.order == "weights" or self.config.goal.objective == "params"
        return "weights" if by_weights else "macs"

    def space(self, network: CapturedNetwork, coupling: Coupling) -> PlanSpace:
        """What may be pruned in `network`."""
        return PlanSpace(
            network,
            coupling,
            self.ranking_weights(network),
            granularity=granularity_from_name(self.config.prune.granularity),
            prior=self.prior,
            latency_of=self.latency_of,
        )

    def space_of(self, network: CapturedNetwork) -> PlanSpace:
        """The same, with the network's own coupling."""
        return self.space(network, find_coupling(network))

    def costs(self, network: CapturedNetwork) -> Costs:
        """Costs of a network as the search counts them, confirmed."""
        (costs,) = self.space_of(network).confirm(PruningPlan())
        return costs

    def check_prediction(self, name: str, predicted_ms: float, network: Callable[[], CapturedNetwork]) -> None:
        """Where latency is measured: compare the sum of a network's kernels with what the whole of it takes."""
        if self.predictions is not None:
            self.predictions.check(name, predicted_ms, network)

    def result(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage recorded, or None; what the stage had measured is known from now on."""
        found = self.folder.result(stage)
        if found is not None:
            self.latency_of.catch_up(stage)
        return found

    def fast_evaluation(self, network: CapturedNetwork, coupling: Coupling) -> FastEvaluation:
        """The judge of candidates in `network`."""
        return FastEvaluation(
            network,
            coupling,
            train=self.train_part,
            search=self.search_part,
            device=self.device,
            images=self.config.search.images,
            recalibration_images=self.config.search.recalibration_images if self.config.search.reestimate else 0,
            early_rejection=self.config.search.early_rejection,
        )

    def judge(self, network: CapturedNetwork) -> Evaluation:
        """Accuracy of a network on the whole search part, in fp32."""
        return evaluate(network.module.to(self.device), self.search_part)


@dataclass(frozen=True, kw_only=True)
class State:
    """A compact network and the plan that made it, in the dense network's indices."""

    network: CapturedNetwork
    plan: PruningPlan

    def save(self, bench: Workbench, stage: str) -> None:
        """Write both as the result of a stage."""
        save_network(bench.folder.stage_file(stage, ".safetensors"), self.network)

    @classmethod
    def load(cls, bench: Workbench, stage: str, plan: PruningPlan) -> "State":
        """Read what `save` wrote; `plan` is the stage's recorded plan."""
        weights = bench.folder.stage_file(stage, ".safetensors")
        return cls(network=rebuild(bench.dense, plan, weights), plan=plan)


def load_weights_into(network: CapturedNetwork, file: Path) -> CapturedNetwork:
    """Load a stage's weights into `network`, in place."""
    load_into(network.module, load_weights(file))
    return network
