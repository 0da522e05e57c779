"""The retraining stage: on the compact network, where function and gradients are those of masked retraining."""

import copy
from dataclasses import replace
from typing import Any

from ..training import train
from ..workbench import State, Workbench


def retrain_stage(bench: Workbench, stage: str, state: State, epochs: int) -> tuple[State, dict[str, Any]]:
    """Retrain a compact network; returns it with its accuracy on the search part."""
    done = bench.folder.result(stage)
    if done is not None:
        return State.load(bench, stage, state.plan), done
    network = replace(state.network, module=copy.deepcopy(state.network.module))
    epochs = bench.epochs(epochs)
    with bench.progress.stage(stage, total=epochs, unit="epochs") as bar:
        summary = train(
            network.module,
            bench.train,
            bench.augmentation,
            bench.recipe(stage, epochs, bench.config.train.retrain_learning_rate),
            device=bench.device,
            teacher=bench.teacher,
            checkpoint=bench.folder.inner_checkpoint(stage),
            on_epoch=lambda epoch, loss: bar.advance(1, f"loss {loss:.3f}"),
            warn=bench.progress.warn,
            processes=bench.processes,
        )
    judged = bench.judge(network)
    network.module.cpu()
    State(network=network, plan=state.plan).save(bench, stage)
    result = {
        "search_accuracy_top1": judged.accuracy_top1,
        "loss": summary.loss,
        "seconds": summary.seconds,
        "epochs": summary.epochs,
    }
    bench.folder.finish(stage, result)
    return State.load(bench, stage, state.plan), result
