"""The end of a run: files written, checked, compiled and measured; figures on test data; the report.

Nothing here decides anything: test data is read for the first time in this module.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..compiler.targets import Target
from ..models.data import DataSplits
from .batches import Batches
from .capture import CapturedNetwork
from .delivery import Delivered, compile_checked, export_checked, kernel_rows, proving_device
from .environment import describe_environment
from .equality_chain import EqualityCheck, probe_inputs
from .evaluation import evaluate
from .goal import Goal
from .latency import ModelledLatency
from .loading import LoadedNetwork, preprocessing_with_classes, save_network
from .plan import save_plan
from .report import write_report
from .results import SCHEMA_VERSION, figures, latencies, layer_rows, ratios
from .run_folder import write_atomic
from .tuned import tuned_for
from .workbench import State, Workbench

LATENCY_RUNS = 200


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the rounds of a run led to."""

    dense: CapturedNetwork
    reference: dict[str, Any]
    state: State
    final: dict[str, Any]
    goal: Goal
    rounds: tuple[dict[str, Any], ...]
    checks: tuple[EqualityCheck, ...]


def close_run(
    bench: Workbench, outcome: Outcome, *, loaded: LoadedNetwork, data: DataSplits, target: Target
) -> dict[str, Any]:
    """Deliver both networks, judge them on test data, write the report and return it."""
    record = preprocessing_with_classes(loaded.preprocessing, data.class_names)
    path = bench.folder.path
    save_network(path / "weights.safetensors", outcome.state.network)
    save_plan(
        path / "pruning_plan.json",
        outcome.state.plan,
        spec=loaded.spec,
        input_shape=outcome.dense.input_shape,
        preprocessing=record,
    )
    delivered, checks = _deliver(bench, outcome, target, loaded)
    if delivered[1].latency is not None:
        write_atomic(path / "bench.json", json.dumps(delivered[1].latency.to_dict(), indent=2) + "\n")
    test = Batches(data.test, record, bench.device)
    searched = (outcome.reference["own_search_accuracy_top1"], outcome.final["search_accuracy_top1"])
    baseline, result = (
        _judged(bench, network, files, test, search_accuracy, target)
        for network, files, search_accuracy in zip(_networks(outcome), delivered, searched, strict=True)
    )
    report = {
        "schema_version": SCHEMA_VERSION,
        **describe_environment(),
        "command": bench.folder.command,
        "run": path.name,
        "seed": bench.config.seed,
        "network": loaded.spec.to_dict(),
        "data": {"name": data.name, "description": data.describe(), "classes": data.num_classes},
        "target": {"name": target.name, "description": target.description},
        "objective": bench.config.goal.objective,
        "granularity": bench.config.prune.granularity,
        "baseline": {
            **baseline,
            "reference": outcome.reference["text"],
            "reference_search_accuracy_top1": outcome.reference["search_accuracy_top1"],
        },
        "result": result,
        "accuracy_drop": baseline["accuracy_top1"] - result["accuracy_top1"],
        "search_accuracy_drop": _search_drop(outcome),
        "ratios": ratios(baseline, result),
        "constraint": _constraint(bench, outcome, result["costs"]),
        "rounds": list(outcome.rounds),
        "trials": _trials(bench),
        "pareto": _pareto(bench),
        "layers": layer_rows(bench.dense, bench.dense_coupling, outcome.state.plan),
        "frozen": [{"layer": layer, "reason": reason} for layer, reason in bench.dense_coupling.frozen],
        "kernels": kernel_rows(delivered[1].package, delivered[1].latency),
        "equality": [check.to_dict() for check in (*outcome.checks, *checks)],
    }
    problem = delivered[1].problem
    if problem is not None:
        report["package_problem"] = problem
        bench.progress.warn(f"no package was made: {problem}")
    write_report(path, report)
    return report


def _networks(outcome: Outcome) -> tuple[CapturedNetwork, CapturedNetwork]:
    return outcome.dense, outcome.state.network


def _deliver(
    bench: Workbench, outcome: Outcome, target: Target, loaded: LoadedNetwork
) -> tuple[list[Delivered], list[EqualityCheck]]:
    """Files of the dense and of the compact network; the equality chain of the latter."""
    path = bench.folder.path
    inputs = probe_inputs(outcome.dense.input_shape, next(bench.search_part.in_order(4))[0]).numpy()
    device = proving_device(bench.config.goal.device, target, bench.progress)
    tuned = tuned_for(target, bench.progress.warn, device=device)
    delivered, checks = [], []
    names = (("checkpoints/dense.onnx", "checkpoints/dense.actpkg"), ("model.onnx", "model.actpkg"))
    for network, (onnx, package) in zip(_networks(outcome), names, strict=True):
        with bench.progress.stage(f"export, compile and measure {Path(onnx).stem}") as stage:
            check = export_checked(network, path / onnx, loaded.preprocessing, inputs)
            files = compile_checked(path / onnx, path / package, target, device, inputs, runs=LATENCY_RUNS, tuned=tuned)
            if files.latency is not None:
                stage.say(f"{files.latency.p50:.3f} ms on {files.latency.device}")
        delivered.append(files)
        checks = [check, *files.equality]
    return delivered, checks


def _judged(
    bench: Workbench, network: CapturedNetwork, files: Delivered, test: Batches, search_accuracy: float, target: Target
) -> dict[str, Any]:
    """All figures of one network, on test data."""
    space = bench.space_of(network)
    module = copy.deepcopy(network.module).to(bench.device)
    found = figures(
        network,
        accuracy=evaluate(module, test).accuracy_top1,
        search_accuracy=search_accuracy,
        onnx=files.onnx,
        latency=latencies(ModelledLatency(target)(space.layers()), target, files.latency),
    )
    return {**found, "costs": dict(bench.costs(network))}


def _search_drop(outcome: Outcome) -> float:
    reference: float = outcome.reference["search_accuracy_top1"]
    return float(reference - outcome.final["search_accuracy_top1"])


def _trials(bench: Workbench) -> list[dict[str, Any]]:
    return [
        {
            "round": trial["stage"],
            "index": trial["index"],
            "accuracy": trial["figures"]["accuracy"],
            "cost": trial["figures"][bench.config.goal.objective],
        }
        for trial in bench.folder.trials
        if trial["stage"].endswith("search")
    ]


def _pareto(bench: Workbench) -> list[dict[str, Any]]:
    """The fronts that the searches of the rounds recorded; their actions stay in the journal."""
    return [
        {"round": event["stage"], "accuracy": point["accuracy"], "cost": point["cost"]}
        for event in bench.folder.events
        if event.get("event") == "finished"
        for point in event["result"].get("pareto", ())
    ]


def _constraint(bench: Workbench, outcome: Outcome, costs: dict[str, float]) -> dict[str, Any]:
    """What was asked, what was reached, and whether every part holds."""
    asked: dict[str, float] = {}
    reached: dict[str, float] = {}
    wanted, goal = bench.config.goal, outcome.goal
    for kind, value in (("params", wanted.params_x), ("macs", wanted.macs_x)):
        if value is not None:
            asked[f"{kind}_x"], reached[f"{kind}_x"] = value, goal.dense[kind] / costs[kind]
    if wanted.latency_ms is not None:
        asked["latency_ms"], reached["latency_ms"] = wanted.latency_ms, costs["latency"]
    met = goal.met(costs)
    if wanted.accuracy_budget is not None:
        drop = _search_drop(outcome)
        asked["max_accuracy_drop"], reached["max_accuracy_drop"] = wanted.accuracy_budget, drop
        met = met and drop <= wanted.accuracy_budget + 1e-9
    return {"asked": asked, "reached": reached, "met": met}
