from dataclasses import replace

import pytest
import torch
from act.models.data import DataSplits, load_data
from act.models.registry import create_model
from act.toolchain.batches import Batches
from act.toolchain.capture import CapturedNetwork, capture
from act.toolchain.evaluation import evaluate
from act.toolchain.folding import plain_weights
from act.toolchain.solvers.selection import SolverSettings
from act.toolchain.training import Recipe, train
from act.toolchain.unstructured import count_weights, keep_counts, prune_unstructured

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=10, learning_rate=0.05, batch_size=32, seed=3)
SOLVER = SolverSettings(
    name="admm",
    epochs=5,
    steps=13,
    rate=0.2,
    pull_start=0.1,
    pull_end=3.0,
    slr_pull=1.0,
)


@pytest.fixture(scope="module")
def data() -> DataSplits:
    return load_data("digits", seed=0, limit_train=400)


@pytest.fixture(scope="module")
def trained(data: DataSplits) -> CapturedNetwork:
    torch.manual_seed(0)
    model = create_model("lenet5", in_channels=1, num_classes=10, image_height=8, image_width=8)
    train(model, Batches(data.train, data.preprocessing, CPU), data.augmentation, RECIPE, device=CPU)
    return capture(model, (1, 8, 8))


def test_a_twentieth_of_the_weights_nearly_keeps_the_accuracy(trained: CapturedNetwork, data: DataSplits) -> None:
    search = Batches(data.search, data.preprocessing, CPU)
    before = evaluate(trained.module, search).accuracy_top1
    left = prune_unstructured(
        trained,
        Batches(data.train, data.preprocessing, CPU),
        data.augmentation,
        keep_share=0.05,
        solver=SOLVER,
        recipe=replace(RECIPE, learning_rate=0.02, final_rate_share=0.1),
        retraining=replace(RECIPE, epochs=5, learning_rate=0.02),
        device=CPU,
    )
    assert left.nonzero <= 0.056 * left.total
    assert left.conv_nonzero < left.conv
    assert left == count_weights(trained)
    assert evaluate(trained.module, search).accuracy_top1 > before - 6


def test_counts_follow_magnitude_over_the_whole_network() -> None:
    weights = {"large": torch.linspace(1, 2, 100), "small": torch.linspace(0.01, 0.02, 1000)}
    counts = keep_counts(weights, 100 / 1100)
    assert counts == {"large": 100, "small": 5}  # the least share of a layer
    assert keep_counts(weights, 1.0) == {"large": 100, "small": 1000}


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01])
def test_a_share_out_of_range_is_refused(trained: CapturedNetwork, share: float) -> None:
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        keep_counts(plain_weights(trained), share)
