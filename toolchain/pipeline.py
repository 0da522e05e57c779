"""The main job: data and network in, a smaller network with its report out.

    dense → reference → rounds of (search → solver → purify → compact → retrain) → final → export → compile → report

The order is fixed here, each stage does its work in its own module, and a finished stage is never done twice.
"""

import copy
import math
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
from .compression import Compression
from .config import CompressConfig, ConfigError
from .coupling import find_coupling
from .delivery import compile_problem
from .distributed import Processes
from .evaluation import evaluate
from .folding import fold_batch_norm
from .hardware import compute_device, training_precision, training_threads
from .latency import LatencyCost, MeasuredLatency, ModelledLatency
from .loading import LoadedNetwork, load_network, preprocessing_with_classes, save_network
from .progress import Progress
from .recipe import resolve_batch_parts
from .run_folder import RunFolder
from .tuned import tuned_for
from .workbench import Workbench, load_weights_into

FULL_EPOCH_IMAGES = 20_000
MOST_EPOCH_FACTOR = 4.0


class Pipeline:
    """One run from its configuration to its report.

    Args:
        config: Resolved configuration.
        folder: The run's folder, new or resumed.
        progress: Shows stages.
        allow_code: Whether the network's name may name code (it came from a flag).
        processes: Those that train together with this one, which is process 0; by default it is alone.
    """

    def __init__(
        self,
        config: CompressConfig,
        folder: RunFolder,
        progress: Progress,
        *,
        allow_code: bool,
        processes: Processes | None = None,
    ) -> None:
        self.folder = folder
        self._config = config
        self._progress = progress
        self._target = get_target(config.goal.target, precision=config.goal.precision)
        data = load_splits(config)
        self._loaded = load_source(config, data, allow_code=allow_code)
        self._data = fit_size(config, data, self._loaded)
        progress.note(self._data.describe())
        self._device = compute_device()
        self._processes = processes or Processes()
        self._batch_parts = resolve_batch_parts(
            config.train.batch_parts, batch_size=config.train.batch_size, processes=self._processes.size
        )
        _, h, w = self._loaded.network.input_shape
        self._precision = training_precision(config.train.precision, self._device, h * w)
        torch.set_num_threads(config.threads or training_threads(h * w))

    def run(self) -> dict[str, Any]:
        """Do what is left of the run and return its report."""
        bench, dense = self.prepare()
        reference = self._reference_stage(bench, dense)
        done = Compression(bench, dense, reference["search_accuracy_top1"]).run()
        return close_run(
            bench,
            Outcome(
                dense=dense,
                reference=reference,
                state=done.state,
                final=done.final,
                goal=done.goal,
                rounds=done.rounds,
                checks=done.checks,
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

    def judge_on_test(self, bench: Workbench, network: CapturedNetwork) -> float:
        """Accuracy of a network on test data, in percent: a final figure, which nothing may depend on."""
        record = preprocessing_with_classes(self._loaded.preprocessing, self._data.class_names)
        test = Batches(self._data.test, record, self._device)
        return evaluate(network.module.to(self._device), test).accuracy_top1

    def _workbench(self) -> Workbench:
        record = self._loaded.preprocessing
        network = self._loaded.network
        small = math.sqrt(FULL_EPOCH_IMAGES / max(len(self._data.train), 1))
        return Workbench(
            config=self._config,
            folder=self.folder,
            progress=self._progress,
            device=self._device,
            precision=self._precision,
            train_part=Batches(self._data.train, record, self._device),
            search_part=Batches(self._data.search, record, self._device),
            augmentation=self._data.augmentation,
            dense=network,
            dense_coupling=find_coupling(network),
            teacher=network.module,
            latency_of=self._latency_cost(),
            epoch_factor=min(MOST_EPOCH_FACTOR, max(1.0, small)),
            batch_parts=self._batch_parts,
            processes=self._processes,
        )

    def _latency_cost(self) -> LatencyCost:
        """The target's model, or kernels measured on the device that was named; measurements are journalled."""
        if self._config.goal.device is None:
            return ModelledLatency(self._target)
        device = open_device(self._config.goal.device)
        return MeasuredLatency(
            self._target,
            device,
            tuned=tuned_for(self._target, self._progress.warn, device=device),
            replay=[record for record in self.folder.events if record.get("event") == "measured"],
            on_measured=lambda record: self.folder.events.append({"event": "measured", **record}),
        )

    def _dense_stage(self, bench: Workbench) -> CapturedNetwork:
        """The dense network: its given weights, or weights trained here."""
        network, stage = bench.dense, "dense"
        if self._config.network.weights is not None:
            return network
        file = self.folder.stage_file(stage, ".safetensors")
        if self.folder.result(stage) is not None:
            return load_weights_into(network, file)
        trained = replace(network, module=copy.deepcopy(network.module))
        epochs = bench.epochs(self._config.train.dense_epochs)
        rates = replace(
            bench.recipe(stage, epochs, self._config.train.dense_learning_rate), distillation=0.0, warmup_share=0.1
        )
        summary = bench.train(stage, trained, rates, title="train the dense network")
        trained.module.cpu()
        save_network(file, trained)
        self.folder.finish(stage, {"seconds": summary.seconds})
        return load_weights_into(network, file)

    def _reference_stage(self, bench: Workbench, dense: CapturedNetwork) -> dict[str, Any]:
        """The accuracy that a drop is taken against.

        Given weights have usually seen the search images, so their own search accuracy is inflated: the reference is
        then the dense network fine-tuned by the same recipe on the train part alone.
        """
        stage = "reference"
        done = self.folder.result(stage)
        if done is not None:
            return done
        own = bench.judge(dense).accuracy_top1
        epochs = self._config.train.reference_epochs
        given = self._config.network.weights is not None and self._config.data.search_data is None and epochs > 0
        result = {"search_accuracy_top1": own, "own_search_accuracy_top1": own, "text": "the dense network"}
        if given:
            tuned = replace(dense, module=copy.deepcopy(dense.module))
            bench.train(stage, tuned, bench.recipe(stage, epochs, self._config.train.retrain_learning_rate))
            result["search_accuracy_top1"] = bench.judge(tuned).accuracy_top1
            result["text"] = f"the dense network fine-tuned for {epochs} epochs on the train part"
        return self.folder.finish(stage, result)


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


def fit_size(config: CompressConfig, data: DataSplits, loaded: LoadedNetwork) -> DataSplits:
    """Image files at the size that the network's weights expect, where no size was asked for; other data as it is."""
    record = loaded.preprocessing
    if config.data.image_size is not None or record.height != record.width:
        return data
    return data.resized(record.height)


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
