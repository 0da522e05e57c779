"""The retraining stage: on the compact network, where function and gradients are those of masked retraining."""

import copy
from dataclasses import replace
from typing import Any

from ..workbench import State, Workbench


def retrain_stage(bench: Workbench, stage: str, state: State, epochs: int) -> tuple[State, dict[str, Any]]:
    """Retrain a compact network; returns it with its accuracy on the search part."""
    done = bench.result(stage)
    if done is not None:
        return State.load(bench, stage, state.plan), done
    network = replace(state.network, module=copy.deepcopy(state.network.module))
    recipe = bench.recipe(stage, bench.epochs(epochs), bench.config.train.retrain_learning_rate)
    summary = bench.train(stage, network, recipe)
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
