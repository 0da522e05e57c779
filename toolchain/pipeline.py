"""The main job: data and network in, a smaller network with its report out.

    dense → reference → rounds of (search → solver → purify → compact → retrain) → final → export → compile → report

The order is fixed here, each stage does its work in its own module, and a finished stage is never done twice.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ..compiler.targets import get_target
from ..device.devices import open_device
from ..models.data import DataSplits, is_folder_of_images, load_data
from ..models.image_set import join
from .batches import Batches
from .capture import CapturedNetwork
from .closing import Outcome, close_run
from .config import CompressConfig, ConfigError
from .coupling import find_coupling
from .delivery import compile_problem
from .equality_chain import EqualityCheck
from .folding import fold_batch_norm
from .goal import Goal, limits_of
from .hardware import compute_device, training_precision, training_threads
from .keep_indices import PruningPlan
from .latency import LatencyCost, MeasuredLatency, ModelledLatency
from .loading import LoadedNetwork, load_network, save_network
from .progress import Progress
from .rounds import (
    State,
    Workbench,
    compact_stage,
    load_weights_into,
    purify_stage,
    recipe,
    retrain_stage,
    search_stage,
    solver_stage,
)
from .run_folder import RunFolder
from .search.action import MAX_RATIO, Action
from .search.budget import Budget, BudgetError
from .training import train

FULL_EPOCH_IMAGES = 20_000
MOST_EPOCH_FACTOR = 4.0


class Pipeline:
    """One run from its configuration to its report.

    Args:
        config: Resolved configuration.
        folder: The run's folder, new or resumed.
        progress: Shows stages.
        allow_code: Whether the network's name may name code (it came from a flag).
    """

    def __init__(self, config: CompressConfig, folder: RunFolder, progress: Progress, *, allow_code: bool) -> None:
        self._config = config
        self._folder = folder
        self._progress = progress
        self._target = get_target(config.goal.target)
        self._data = load_splits(config)
        progress.note(self._data.describe())
        self._loaded = load_source(config, self._data, allow_code=allow_code)
        self._device = compute_device()
        _, h, w = self._loaded.network.input_shape
        self._precision = training_precision(config.train.precision, self._device, h * w)
        torch.set_num_threads(config.threads or training_threads(h * w))
        self._checks: list[EqualityCheck] = []
        self._rounds: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        """Do what is left of the run and return its report."""
        bench, dense = self.prepare()
        reference = self._reference_stage(bench, dense)
        state, goal = self._compress(bench, dense, reference["search_accuracy_top1"])
        state, final = retrain_stage(bench, "final", state, self._config.train.final_epochs)
        return close_run(
            bench,
            Outcome(
                dense=dense,
                reference=reference,
                state=state,
                final=final,
                goal=goal,
                rounds=tuple(self._rounds),
                checks=tuple(self._checks),
            ),
            loaded=self._loaded,
            data=self._data,
            target=self._target,
        )

    def prepare(self) -> tuple[Workbench, CapturedNetwork]:
        """What every round starts from: the workbench, and the dense network, trained where it has no weights."""
        bench = self._workbench()
        problem = compile_problem(bench.dense)
        if problem is not None:
            self._progress.warn(f"the network will be compressed and exported, but not compiled: {problem}")
        dense = self._dense_stage(bench)
        return replace(bench, teacher=fold_batch_norm(dense).module.to(self._device)), dense

    def _workbench(self) -> Workbench:
        record = self._loaded.preprocessing
        network = self._loaded.network
        small = math.sqrt(FULL_EPOCH_IMAGES / max(len(self._data.train), 1))
        return Workbench(
            config=self._config,
            folder=self._folder,
            progress=self._progress,
            device=self._device,
            precision=self._precision,
            train=Batches(self._data.train, record, self._device),
            search=Batches(self._data.search, record, self._device),
            augmentation=self._data.augmentation,
            dense=network,
            dense_coupling=find_coupling(network),
            teacher=network.module,
            latency_of=self._latency_cost(),
            epoch_factor=min(MOST_EPOCH_FACTOR, max(1.0, small)),
        )

    def _latency_cost(self) -> LatencyCost:
        """The target's model, or kernels measured on the device that was named; measurements are journalled."""
        if self._config.goal.device is None:
            return ModelledLatency(self._target)
        return MeasuredLatency(
            self._target,
            open_device(self._config.goal.device),
            replay=[record for record in self._folder.events if record.get("event") == "measured"],
            on_measured=lambda record: self._folder.events.append({"event": "measured", **record}),
        )

    def _dense_stage(self, bench: Workbench) -> CapturedNetwork:
        """The dense network: its given weights, or weights trained here."""
        network, stage = bench.dense, "dense"
        if self._config.network.weights is not None:
            return network
        file = self._folder.stage_file(stage, ".safetensors")
        if self._folder.result(stage) is not None:
            return load_weights_into(network, file)
        trained = replace(network, module=copy.deepcopy(network.module))
        epochs = bench.epochs(self._config.train.dense_epochs)
        rates = replace(
            recipe(bench, stage, epochs, self._config.train.dense_learning_rate), distillation=0.0, warmup_share=0.1
        )
        with self._progress.stage("train the dense network", total=epochs, unit="epochs") as bar:
            summary = train(
                trained.module,
                bench.train,
                bench.augmentation,
                rates,
                device=self._device,
                checkpoint=self._folder.inner_checkpoint(stage),
                on_epoch=lambda epoch, loss: bar.advance(1, f"loss {loss:.3f}"),
            )
        trained.module.cpu()
        save_network(file, trained)
        self._folder.finish(stage, {"seconds": summary.seconds})
        return load_weights_into(network, file)

    def _reference_stage(self, bench: Workbench, dense: CapturedNetwork) -> dict[str, Any]:
        """The accuracy that a drop is taken against.

        Given weights have usually seen the search images, so their own search accuracy is inflated: the reference is
        then the dense network fine-tuned by the same recipe on the train part alone.
        """
        stage = "reference"
        done = self._folder.result(stage)
        if done is not None:
            return done
        own = bench.judge(dense).accuracy_top1
        epochs = self._config.train.reference_epochs
        given = self._config.network.weights is not None and self._config.data.search_data is None and epochs > 0
        result = {"search_accuracy_top1": own, "own_search_accuracy_top1": own, "text": "the dense network"}
        if given:
            tuned = replace(dense, module=copy.deepcopy(dense.module))
            with self._progress.stage(stage, total=epochs, unit="epochs") as bar:
                train(
                    tuned.module,
                    bench.train,
                    bench.augmentation,
                    recipe(bench, stage, epochs, self._config.train.retrain_learning_rate),
                    device=self._device,
                    teacher=bench.teacher,
                    checkpoint=self._folder.inner_checkpoint(stage),
                    on_epoch=lambda epoch, loss: bar.advance(1, f"loss {loss:.3f}"),
                )
            result["search_accuracy_top1"] = bench.judge(tuned).accuracy_top1
            result["text"] = f"the dense network fine-tuned for {epochs} epochs on the train part"
        return self._folder.finish(stage, result)

    def _compress(self, bench: Workbench, dense: CapturedNetwork, reference: float) -> tuple[State, Goal]:
        """Rounds until the constraint is met, or until the accuracy budget is spent."""
        goal_config, prune = self._config.goal, self._config.prune
        state = State(network=dense, plan=PruningPlan())
        space = bench.space(dense, bench.dense_coupling)
        costs = space.confirm(state.plan)
        strongest = Action(
            filter_ratio=dict.fromkeys(space.actions.group_share, MAX_RATIO),
            column_ratio=dict.fromkeys(space.actions.layer_share, MAX_RATIO),
        )
        # Params and MACs can be divided as asked; of latency, launching the kernels always stays.
        floor = {"params": 0.0, "macs": 0.0, "latency": space.priced(strongest)[1]["latency"]}
        goal = Goal(
            limits=limits_of(goal_config, costs),
            dense=costs,
            floor=floor,
            round_factor=prune.round_factor,
            max_rounds=prune.max_rounds,
        )
        count = goal.rounds if goal.limits else prune.max_rounds
        limits_of_round: Callable[[int], dict[str, float]] = (
            goal.limits_of_round if goal.limits else lambda index: goal.halved(goal_config.objective, index)
        )
        for index in range(1, count + 1):
            last = bool(goal.limits) and index == count
            found = self._round(
                bench, index, state, limits_of_round(index), last=last, reference=None if goal.limits else reference
            )
            if found is None:
                break
            accepted = self._accept(index, found[1], reference) if not goal.limits else True
            self._note_round(bench, index, found, accepted=accepted)
            if not accepted:
                break
            state = found[0]
        return state, goal

    def _round(
        self,
        bench: Workbench,
        index: int,
        state: State,
        limits: dict[str, float],
        *,
        last: bool,
        reference: float | None,
    ) -> tuple[State, float | None] | None:
        """One round, judged against `reference` where there is one; None where its limits cannot be met."""
        objective = self._config.goal.objective
        name = f"round {index}"
        try:
            found = search_stage(bench, f"{name} search", state.network, Budget(limits=limits), objective)
        except BudgetError as error:
            self._progress.warn(f"{name}: {error}")
            return None
        solver = f"{name} {self._config.prune.solver}"
        trained, plan = solver_stage(bench, solver, state.network, found.action, Budget(limits=limits))
        # Where a cost is asked for and met, what purification would still remove is worth more as accuracy.
        if self._config.prune.purify and self._config.prune.purify_trials and not last:
            plan = purify_stage(bench, f"{name} purify", trained, plan, Budget(limits=limits))
        smaller, check = compact_stage(bench, f"{name} compact", state, trained, plan)
        self._checks.append(check)
        if last:
            return smaller, None
        epochs = self._config.train.retrain_epochs
        retrained, result = retrain_stage(bench, f"{name} retrain", smaller, epochs)
        if reference is not None and not self._fits(result["search_accuracy_top1"], reference):
            # Retraining is short; a second one costs less than giving the round up.
            retrained, result = retrain_stage(bench, f"{name} retrain again", retrained, epochs)
        return retrained, result["search_accuracy_top1"]

    def _accept(self, index: int, accuracy: float | None, reference: float) -> bool:
        assert accuracy is not None
        if self._fits(accuracy, reference):
            return True
        self._progress.note(
            f"round {index} loses {reference - accuracy:.2f} points on the search part, more than "
            f"{self._config.goal.accuracy_budget:g}: the round before it is the result"
        )
        return False

    def _fits(self, accuracy: float, reference: float) -> bool:
        budget = self._config.goal.accuracy_budget
        assert budget is not None
        return accuracy >= reference - budget

    def _note_round(self, bench: Workbench, index: int, found: tuple[State, float | None], *, accepted: bool) -> None:
        state, accuracy = found
        costs = bench.costs(state.network)
        self._rounds.append(
            {
                "round": index,
                "macs": costs["macs"],
                "params": costs["params"],
                "latency_ms": costs["latency"],
                "search_accuracy_top1": accuracy,
                "accepted": accepted,
            }
        )


def load_splits(config: CompressConfig) -> DataSplits:
    """The data of a configuration; `--search-data` replaces the search part."""
    data = config.data
    splits = load_data(
        data.spec,
        seed=config.seed,
        download=data.download,
        limit_train=data.limit_train,
        image_size=data.image_size,
    )
    if data.search_data is None:
        return splits
    side = splits.image_shape[1] if is_folder_of_images(data.search_data) else None
    other = load_data(data.search_data, seed=config.seed, download=data.download, image_size=side)
    folders = is_folder_of_images(data.spec) and side is not None
    if folders and other.class_names != splits.class_names:
        raise ConfigError(
            f"--search-data {data.search_data} must have the class folders of --data {data.spec}, but only one of them "
            f"has {', '.join(sorted(set(other.class_names) ^ set(splits.class_names)))}"
        )
    return replace(splits, search=join([other.train, other.search, other.test]))


def load_source(config: CompressConfig, data: DataSplits, *, allow_code: bool) -> LoadedNetwork:
    """The dense network of a configuration, captured."""
    return load_network(
        config.network.model,
        weights=config.network.weights,
        preprocessing=data.preprocessing,
        num_classes=data.num_classes,
        image_shape=data.image_shape,
        arguments=config.network.arguments,
        allow_code=allow_code,
        seed=config.seed,
    )
