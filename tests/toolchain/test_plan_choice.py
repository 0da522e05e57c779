import itertools
import time

import numpy as np
import pytest
import torch
from act.toolchain.capture import capture
from act.toolchain.coupling import find_coupling
from act.toolchain.folding import folded_weights, plain_weights
from act.toolchain.keep_indices import PruningPlan, normalize_plan, resolve_plan
from act.toolchain.masking import masked_weights
from act.toolchain.plan_choice import Scores, choose_plan
from torch import nn


@pytest.fixture
def chain():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 4, 2), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1))
    network = capture(model, (2, 5, 5))
    return network, find_coupling(network)


def kept_norm(weights, coupling, plan):
    return sum(float(w.double().square().sum()) for w in masked_weights(weights, coupling, plan).values())


def test_one_layer_matches_brute_force(chain):
    network, coupling = chain
    weights = {"0": plain_weights(network)["0"]}
    plan = choose_plan(network, coupling, weights, {"0": 2}, {"0": 3})
    best = max(
        kept_norm(weights, coupling, PruningPlan(keep_filters={"0": np.int32(f)}, keep_columns={"0": np.int32(c)}))
        for f in itertools.combinations(range(4), 2)
        for c in itertools.combinations(range(8), 3)
    )
    assert kept_norm(weights, coupling, plan) >= 0.95 * best
    assert len(plan.keep_filters["0"]) == 2
    assert len(plan.keep_columns["0"]) == 3


def test_a_groups_score_adds_its_producers_weighted_by_rho(network_of):
    network = network_of("padded_shortcut")
    coupling = find_coupling(network)
    weights = {name: torch.zeros_like(value) for name, value in plain_weights(network).items()}
    weights["stem"][:, 0, 0, 0] = torch.tensor([3.0, 0, 0, 0, 0, 2.0])
    weights["conv2"][:, 0, 0, 0] = torch.arange(10.0) / 10
    plain = choose_plan(network, coupling, weights, {"stem": 2}, {})
    assert plain.keep_filters["stem"].tolist() == [0, 5]  # 9 and 4.36 beat everything of conv2
    producers = {ref.layer: ref for ref in coupling.by_name["stem"].producers}
    strongest = producers["conv2"].units[[8, 9]].tolist()
    weighted = choose_plan(network, coupling, weights, {"stem": 3}, {}, rho={"conv2": 1000.0})
    # conv2 decides; the stem, which shares none of its strongest, keeps its best unit none the less.
    assert weighted.keep_filters["stem"].tolist() == sorted([5, *strongest])


def test_every_producer_keeps_a_filter(network_of):
    network = network_of("resnet20")
    coupling = find_coupling(network)
    weights = plain_weights(network)
    # Make every filter outside the first stage's channels strong.
    weights["layer3.2.conv2"] = weights["layer3.2.conv2"].clone()
    weights["layer3.2.conv2"][:16] *= 1000
    plan = choose_plan(network, coupling, weights, {"conv1": 5}, {})
    kept = resolve_plan(coupling, plan)
    assert len(plan.keep_filters["conv1"]) == 5
    assert all(kept.filters(name).any() for name in coupling.layers)


def test_counts_are_met_and_columns_clipped_to_what_is_left(network_of):
    network = network_of("resnet20")
    coupling = find_coupling(network)
    filters = {group.name: max(1, group.size // 4) for group in coupling.prunable}
    columns = dict.fromkeys(coupling.column_layers, 30)
    plan = choose_plan(network, coupling, folded_weights(network), filters, columns)
    kept = resolve_plan(coupling, plan)
    for name in coupling.column_layers:
        left = int(kept.inputs(name).sum()) * 9
        assert len(kept.columns(name)) == min(30, left)
    assert plan == normalize_plan(coupling, plan)


def test_a_float_is_a_share_of_the_columns_left(chain):
    network, coupling = chain
    plan = choose_plan(network, coupling, plain_weights(network), {}, {"0": 0.5})
    assert len(plan.keep_columns["0"]) == 4
    everything = choose_plan(network, coupling, plain_weights(network), {}, {"0": 1.0, "2": 99})
    assert everything == PruningPlan()


def test_weights_stay_and_choices_repeat(network_of):
    network = network_of("vgg16")
    coupling = find_coupling(network)
    weights = folded_weights(network)
    before = {name: value.clone() for name, value in weights.items()}
    counts = {group.name: group.size // 2 for group in coupling.prunable}
    scores = Scores(coupling, weights)
    shares = dict.fromkeys(coupling.column_layers, 0.3)
    assert choose_plan(network, coupling, scores, counts, shares) == choose_plan(
        network, coupling, weights, counts, shares
    )
    assert all(torch.equal(before[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    ("filters", "columns", "message"),
    [
        ({"0": 0}, {}, "1..4, got 0"),
        ({"0": 5}, {}, "1..4, got 5"),
        ({"4": 1}, {}, "network's output"),
        ({"nope": 1}, {}, "no such coupling group"),
        ({}, {"nope": 1}, "not a convolution"),
        ({}, {"0": 0}, "got 0"),
        ({}, {"0": 1.5}, "got 1.5"),
    ],
)
def test_impossible_counts_are_refused(chain, filters, columns, message):
    network, coupling = chain
    with pytest.raises(ValueError, match=message):
        choose_plan(network, coupling, plain_weights(network), filters, columns)


def test_a_choice_is_fast(network_of):
    network = network_of("resnet56")
    coupling = find_coupling(network)
    scores = Scores(coupling, folded_weights(network))
    counts = {group.name: group.size // 2 for group in coupling.prunable}
    shares = dict.fromkeys(coupling.column_layers, 0.5)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        choose_plan(network, coupling, scores, counts, shares)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1  # about 0.015 on an idle machine
