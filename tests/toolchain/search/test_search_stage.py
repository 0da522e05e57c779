"""The search stage of a run, with every strategy, on a real network: journalled, cut, and timed."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from act.toolchain.config import CompressConfig
from act.toolchain.config_file import resolve
from act.toolchain.coupling import find_coupling
from act.toolchain.pipeline import Pipeline
from act.toolchain.progress import Progress
from act.toolchain.run_folder import Journal, RunFolder
from act.toolchain.search.budget import Budget, Proposal
from act.toolchain.search.plan_space import PlanSpace
from act.toolchain.search.problem import network_knobs
from act.toolchain.stages.search import search_stage
from act.toolchain.workbench import Workbench

SMALL = {
    "threads": 1,
    "network": {"model": "lenet5"},
    "data": {"limit_train": 200},
    "goal": {"objective": "macs"},
    "search": {"trials": 12, "images": 60, "recalibration_images": 32},
    "train": {"dense_epochs": 1},
}
STAGE = "round 1 search"
Bench = Callable[..., tuple[Workbench, Any]]


def config_of(**search: object) -> CompressConfig:
    return resolve("quick", None, {**SMALL, "search": {**SMALL["search"], **search}})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    def make(**search: object) -> tuple[Workbench, Any]:
        config = config_of(**search)
        path = tmp_path / "run"
        folder = RunFolder(path) if path.exists() else RunFolder.create(path, config, {}, "act")
        return Pipeline(config, folder, Progress(quiet=True), allow_code=False).prepare()

    return make


def searched(made: tuple[Workbench, Any]) -> Proposal:
    workbench, dense = made
    space = workbench.space(dense, find_coupling(dense))
    return search_stage(workbench, STAGE, dense, Budget(limits={"macs": space.costs()["macs"] / 2}), "macs")


def trials_of(made: tuple[Workbench, Any]) -> list[dict[str, Any]]:
    return made[0].folder.trials_of(STAGE)


STRATEGIES = ["annealing", "random", "greedy", "manual", "genetic", "ddpg"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_finds_an_action_and_resumes_after_a_kill(
    bench: Bench, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"genetic": "pymoo", "ddpg": "stable_baselines3"}.get(strategy)
    if module is not None and importlib.util.find_spec(module) is None:
        pytest.skip(f"needs {module}")
    settings = {"strategy": strategy, "rates": {"default": 0.4}} if strategy == "manual" else {"strategy": strategy}
    made = bench(**settings)
    expected = searched(made)
    whole = trials_of(made)
    assert len(whole) <= 12
    result = made[0].folder.result(STAGE)
    assert ("pareto" in result) == (strategy == "genetic")
    assert searched(bench(**settings)) == expected, "a finished stage is replayed from its record"

    # The same run, killed after half of its trials: no record of the stage's end, half of the journal.
    folder = made[0].folder.path
    (folder / "events.jsonl").write_text("".join(_lines(folder / "events.jsonl", STAGE, drop="finished")))
    half = len(whole) // 2
    (folder / "trials.jsonl").write_text("".join((folder / "trials.jsonl").read_text().splitlines(True)[:half]))
    again = bench(**settings)
    assert searched(again) == expected
    assert trials_of(again) == whole


def _lines(path: Path, stage: str, *, drop: str) -> list[str]:
    records = zip(Journal(path), path.read_text().splitlines(True), strict=True)
    return [line for record, line in records if not (record["event"] == drop and record["stage"] == stage)]


def test_a_time_budget_becomes_a_number_of_trials_once(bench: Bench) -> None:
    made = bench(seconds=0.4, strategy="random")
    expected = searched(made)
    events = [event for event in made[0].folder.events if event["event"] == "time budget"]
    assert [(event["stage"], event["seconds"]) for event in events] == [(STAGE, 0.4)]
    assert len(trials_of(made)) == events[0]["trials"]
    path = made[0].folder.path / "events.jsonl"
    path.write_text("".join(_lines(path, STAGE, drop="finished")))
    # Another machine, or a busy one, would afford another number: what was recorded counts.
    again = bench(seconds=0.4, strategy="random")
    assert searched(again) == expected
    assert [event for event in again[0].folder.events if event["event"] == "time budget"] == events


def test_the_prior_follows_the_cost_or_the_weights(bench: Bench) -> None:
    made = bench()
    space = made[0].space(made[1], find_coupling(made[1]))
    shares = dict(space.actions.layer_share)
    sizes = {layer.name: layer for layer in space.layers()}
    assert sorted(shares, key=shares.get) == sorted(shares, key=lambda name: sizes[name].macs)
    by_weights = bench(order="weights")[0].space(made[1], find_coupling(made[1])).actions.layer_share
    assert sorted(by_weights, key=by_weights.get) == sorted(shares, key=lambda name: sizes[name].weight_count)


def test_knobs_are_in_execution_order_and_complete(bench: Bench) -> None:
    made = bench()
    space: PlanSpace = made[0].space(made[1], find_coupling(made[1]))
    knobs = network_knobs(space)
    order = [layer.name for layer in space.layers()]
    places = [order.index(knob.layer.name) for knob in knobs]
    assert places == sorted(places)
    assert {knob.name for knob in knobs if knob.kind == "filter"} == set(space.actions.group_share)
    assert {knob.name for knob in knobs if knob.kind == "column"} == set(space.actions.layer_share)
