"""Purification on a small trained network in which filters and columns were made nearly zero."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from act.models.data import DataSplits, load_data
from act.toolchain.batches import Batches
from act.toolchain.capture import CapturedNetwork, capture
from act.toolchain.coupling import find_coupling
from act.toolchain.folding import plain_weights
from act.toolchain.granularity import BlockColumn, Combined, Granularity
from act.toolchain.keep_indices import PruningPlan, resolve_plan
from act.toolchain.purify import LEVELS, TOLERANCE, Knob, Purification, as_good, at_chance, purify
from act.toolchain.search.fast_evaluation import FastEvaluation
from act.toolchain.search.plan_space import PlanSpace
from act.toolchain.training import Recipe, train
from torch import nn

CPU = torch.device("cpu")
FILTERS = {"0": [1, 2, 5, 6, 7, 8, 11], "2": [0, 4, 9]}  # more than half of the first layer's twelve
COLUMNS = {"2": [3, 4, 30, 85, 90], "4": [7, 17, 18, 19, 100, 101]}


@pytest.fixture(scope="module")
def data() -> DataSplits:
    return load_data("digits", seed=0, limit_train=400)


@pytest.fixture(scope="module")
def planted(data: DataSplits) -> CapturedNetwork:
    """A trained network with filters and columns that are ten thousand times smaller than the others."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 14, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(14, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 16, 10),
    )
    with torch.no_grad():
        shrink(model)
    recipe = Recipe(epochs=12, learning_rate=0.05, batch_size=32, seed=1)
    train(model, Batches(data.train, data.preprocessing, CPU), data.augmentation, recipe, device=CPU)
    with torch.no_grad():
        shrink(model)
    return capture(model, (1, 8, 8))


def shrink(model: nn.Sequential) -> None:
    for name, filters in FILTERS.items():
        model[int(name)].weight[filters] *= 1e-4
        model[int(name)].bias[filters] *= 1e-4
    for name, columns in COLUMNS.items():
        weight = model[int(name)].weight
        matrix = weight.flatten(1).clone()  # training leaves weights channels last: a flat view may not exist
        matrix[:, columns] *= 1e-4
        weight.copy_(matrix.view(weight.shape))


def purification_of(
    network: CapturedNetwork, plan: PruningPlan | None = None, granularity: Granularity | None = None
) -> Purification:
    space = PlanSpace(
        network,
        find_coupling(network),
        plain_weights(network),
        granularity=granularity or Combined(),
        latency_of=None,
    )
    return Purification(space, plan or PruningPlan(), plain_weights(network))


def judge_of(network: CapturedNetwork, data: DataSplits) -> FastEvaluation:
    train_part, search_part = (Batches(part, data.preprocessing, CPU) for part in (data.train, data.search))
    return FastEvaluation(
        network,
        find_coupling(network),
        train=train_part,
        search=search_part,
        device=CPU,
        images=1000,
        recalibration_images=64,
    )


def test_all_that_is_nearly_zero_goes_and_accuracy_stays(planted: CapturedNetwork, data: DataSplits) -> None:
    purification, judge = purification_of(planted), judge_of(planted, data)
    before = judge(purification.original)
    assert before.accuracy_top1 > 60
    judged: list[bool] = []

    def attempt(plan: PruningPlan) -> bool:
        found = judge(plan)
        judged.append(as_good(found.accuracy_top1, found.loss, before.accuracy_top1, before.loss))
        return judged[-1]

    plan = purify(purification, attempt, 12)
    kept = resolve_plan(find_coupling(planted), plan)
    for name, filters in FILTERS.items():
        assert not kept.filters(name)[filters].any()
    for name, columns in COLUMNS.items():
        assert not np.isin(columns, kept.columns(name)).any()
    assert judge(plan).accuracy_top1 >= before.accuracy_top1 - TOLERANCE
    assert len(judged) <= 12
    space = PlanSpace(planted, find_coupling(planted), plain_weights(planted), granularity=Combined(), latency_of=None)
    assert space.costs(plan)["params"] < 0.7 * space.costs()["params"]


def test_thresholds_are_raised_layer_by_layer(planted: CapturedNetwork) -> None:
    purification = purification_of(planted)
    coupling = find_coupling(planted)

    def only_the_last_layer_may_lose_columns(plan: PruningPlan) -> bool:
        kept = resolve_plan(coupling, plan)
        return len(kept.columns("2")) == 108 and bool(kept.units.all())

    plan = purify(purification, only_the_last_layer_may_lose_columns, 60)
    assert len(plan.keep_columns["4"]) < 126 - len(COLUMNS["4"])
    assert only_the_last_layer_may_lose_columns(plan)


def test_nothing_is_removed_where_no_step_holds(planted: CapturedNetwork) -> None:
    purification = purification_of(planted)
    tried: list[PruningPlan] = []

    def refuse(plan: PruningPlan) -> bool:
        tried.append(plan)
        return False

    assert purify(purification, refuse, 9) == purification.original
    assert len(tried) == 9
    assert all(plan != purification.original for plan in tried)
    assert purify(purification, refuse, 0) == purification.original
    assert len(tried) == 9


def test_it_ends_where_every_threshold_is_as_high_as_can_be(planted: CapturedNetwork) -> None:
    purification = purification_of(planted)
    calls: list[PruningPlan] = []
    plan = purify(purification, lambda plan: calls.append(plan) is None, 10_000)
    highest = dict.fromkeys(purification.knobs, len(LEVELS) - 1)
    assert plan == purification.plan(highest)
    assert len(calls) < 20
    assert all(purification.raised(highest, knob) is None for knob in purification.knobs)


def test_it_works_within_what_hard_pruning_keeps(planted: CapturedNetwork) -> None:
    coupling = find_coupling(planted)
    hard = PruningPlan(
        keep_filters={"2": np.array([1, 2, 4, 6, 8, 9], dtype=np.int32)},
        keep_columns={"4": np.arange(0, 126, 2, dtype=np.int32)},
    )
    purification = purification_of(planted, hard)
    before = resolve_plan(coupling, purification.original)
    after = resolve_plan(coupling, purify(purification, lambda plan: True, 50))
    assert not (after.units & ~before.units).any()
    assert not after.filters("2")[[4, 9]].any()
    for name in coupling.layers:
        assert np.isin(after.columns(name), before.columns(name)).all()


def test_blocks_go_whole(planted: CapturedNetwork) -> None:
    purification = purification_of(planted, granularity=BlockColumn(block=2))
    knobs = {knob.name for knob in purification.knobs}
    assert knobs == {"0", "2", "4"}
    assert all(knob.columns for knob in purification.knobs)
    coupling = find_coupling(planted)
    level = dict.fromkeys(purification.knobs, 0) | {Knob(columns=True, name="4"): len(LEVELS) - 1}
    kept = resolve_plan(coupling, purification.plan(level))
    pairs = {(column // 9 // 2, column % 9) for column in kept.columns("4").tolist()}
    assert len(kept.columns("4")) == 2 * len(pairs)
    assert len(pairs) < 63


def test_chance_is_told_from_skill() -> None:
    labels = torch.arange(10).repeat(36)
    assert at_chance(10.0, labels)
    assert at_chance(14.0, labels)
    assert not at_chance(20.0, labels)
    skewed = torch.cat([torch.zeros(90), torch.ones(10)]).long()
    assert at_chance(90.0, skewed)
    assert not at_chance(100.0, skewed)


def test_no_worse_means_neither_accuracy_nor_loss() -> None:
    assert as_good(90.0, 0.5, 90.05, 0.5)
    assert not as_good(90.0, 0.5, 90.2, 0.5)
    assert as_good(90.0, 0.505, 90.0, 0.5)
    assert not as_good(95.0, 0.6, 90.0, 0.5)


def test_a_dead_layer_is_left_alone(planted: CapturedNetwork) -> None:
    dead = replace(planted, module=copy.deepcopy(planted.module))
    with torch.no_grad():
        dead.module.get_submodule("2").weight.zero_()
    purification = purification_of(dead)
    assert purification.raised(dict.fromkeys(purification.knobs, 0), Knob(columns=True, name="2")) is None
