import copy

import numpy as np
import pytest
import torch
from act.models.data import ImageSet
from act.models.preprocessing import Preprocessing
from act.models.registry import create_model
from act.toolchain.batches import Batches
from act.toolchain.capture import capture
from act.toolchain.coupling import find_coupling
from act.toolchain.evaluation import evaluate, recalibrate_batch_norm
from act.toolchain.keep_indices import PruningPlan
from act.toolchain.masking import make_masks
from act.toolchain.search import prepared_batches
from act.toolchain.search.fast_evaluation import FastEvaluation, badness
from act.toolchain.search.prepared_batches import PreparedBatches, prepare

CPU = torch.device("cpu")
IMAGES = 400


@pytest.fixture(scope="module")
def setting():
    """A small network, and images labelled by what it sees in them: all right where nothing is pruned."""
    torch.manual_seed(0)
    network = capture(create_model("resnet20", num_classes=10, in_channels=3).eval(), (3, 8, 8))
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 8, 8, 3), dtype=np.uint8)
    record = Preprocessing(height=8, width=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    images = Batches(ImageSet(images=pixels, labels=np.zeros(IMAGES, dtype=np.int64)), record, CPU)
    module = copy.deepcopy(network.module)
    recalibrate_batch_norm(module, images, images=IMAGES)
    with torch.no_grad():
        labels = torch.cat([module(part).argmax(1) for part, _ in images.in_order(500)]).numpy()
    order = np.argsort(labels, kind="stable")
    batches = Batches(ImageSet(images=pixels[order], labels=labels[order]), record, CPU)
    return network, find_coupling(network), batches


def judge_of(setting, **changes):
    network, coupling, batches = setting
    values = {"train": batches, "search": batches, "device": CPU, "images": IMAGES, "recalibration_images": IMAGES}
    return FastEvaluation(network, coupling, **{**values, **changes})


def strong_plan(coupling):
    return PruningPlan(keep_filters={group.name: np.arange(2, dtype=np.int32) for group in coupling.prunable})


def test_prepared_batches_are_those_of_the_set(setting) -> None:
    batches = setting[2]
    prepared = prepare(batches, 300)
    assert isinstance(prepared, PreparedBatches)
    for limit in (None, 120):
        pairs = zip(prepared.in_order(64, limit=limit), batches.in_order(64, limit=limit or 300), strict=True)
        for (images, labels), (expected, expected_labels) in pairs:
            assert torch.equal(images, expected)
            assert images.stride() == expected.stride()
            assert torch.equal(labels, expected_labels)


def test_a_set_too_large_to_keep_is_prepared_batch_by_batch(setting, monkeypatch) -> None:
    monkeypatch.setattr(prepared_batches, "MOST_BYTES", 1000)
    prepared = prepare(setting[2], 300)
    assert isinstance(prepared, Batches) and len(prepared) == 300
    assert judge_of(setting, early_rejection=True)(PruningPlan()).images == IMAGES


def test_it_equals_pruning_recalibrating_and_judging_by_hand(setting) -> None:
    network, coupling, batches = setting
    plan = strong_plan(coupling)
    module = copy.deepcopy(network.module).to(memory_format=torch.channels_last)
    make_masks(network, coupling, plan).apply_(module)
    stored = evaluate(module, batches, limit=300)
    recalibrate_batch_norm(module, batches, images=256)
    assert judge_of(setting, images=300, recalibration_images=256)(plan) == evaluate(module, batches, limit=300)
    assert judge_of(setting, images=300, recalibration_images=0)(plan) == stored


def test_plans_do_not_leave_traces(setting) -> None:
    before = copy.deepcopy(setting[0].module.state_dict())
    judge = judge_of(setting)
    dense = judge(PruningPlan())
    judge(strong_plan(setting[1]))
    assert judge(PruningPlan()) == dense
    assert dense.accuracy_top1 > 95
    assert all(torch.equal(value, before[name]) for name, value in setting[0].module.state_dict().items())


def test_a_hopeless_plan_is_given_up_early_and_lies_above_the_limit(setting) -> None:
    judge = judge_of(setting, early_rejection=True)
    found = judge(strong_plan(setting[1]), reject_above=0.2)
    assert found.images < IMAGES
    assert badness(found) > 0.2
    assert judge(strong_plan(setting[1]), reject_above=0.2) == found


def test_a_plan_near_the_limit_is_judged_on_every_image(setting) -> None:
    whole, judge = judge_of(setting), judge_of(setting, early_rejection=True)
    plan = strong_plan(setting[1])
    expected = whole(plan)
    for limit in (float("inf"), badness(expected) + 0.01, badness(expected) - 0.002):
        found = judge(plan, reject_above=limit)
        assert found.images == IMAGES
        assert found.accuracy_top1 == expected.accuracy_top1
        assert found.loss == pytest.approx(expected.loss)


def test_sorted_images_do_not_mislead_the_first_look(setting) -> None:
    """The images are sorted by label; each part of the interleaved order holds its share of every label."""
    prepared = prepare(setting[2], IMAGES)
    assert isinstance(prepared, PreparedBatches)
    counts = [torch.bincount(labels, minlength=10) for _, labels in prepared.interleaved(4).in_order(IMAGES // 4)]
    assert all(int((count - counts[0]).abs().max()) <= 1 for count in counts)
