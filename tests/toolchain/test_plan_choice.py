import itertools
import time
from collections import Counter

import numpy as np
import pytest
import torch
from act.models.layers import ColumnConv2d
from act.toolchain.capture import capture
from act.toolchain.compaction import compact
from act.toolchain.coupling import find_coupling
from act.toolchain.folding import folded_weights, plain_weights
from act.toolchain.granularity import BlockColumn, Channel, Column
from act.toolchain.keep_indices import PruningPlan, normalize_plan, resolve_plan
from act.toolchain.masking import masked_weights
from act.toolchain.plan_choice import choose_plan
from act.toolchain.scores import Scores
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


def test_a_unit_counts_for_what_reads_it_too(chain):
    network, coupling = chain
    weights = {name: torch.ones_like(value) for name, value in plain_weights(network).items()}
    weights["0"][1] *= 1.1
    weights["2"][:, 3] *= 3.0
    plan = choose_plan(network, coupling, weights, {"0": 1}, {})
    assert plan.keep_filters["0"].tolist() == [3]  # 8 + 27 against 9.68 + 3


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


# Granularities: blocks of columns against brute force, and whole blocks in the compact network.

BLOCKS = [Column(), Channel(), BlockColumn(block=2)]


@pytest.fixture
def wide():
    """Five channels into a layer of four filters: the last block of two channels has one."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Conv2d(2, 5, 2), nn.ReLU(), nn.Conv2d(5, 4, (1, 2)), nn.ReLU(), nn.Conv2d(4, 2, 1))
    network = capture(model, (2, 6, 6))
    return network, find_coupling(network)


def blocks_of(channels, blocks, area):
    """Columns of every block of these kept channels, written out independently of the code under test."""
    if isinstance(blocks, Channel):
        return [[c * area + p for p in range(area)] for c in channels]
    size = blocks.channels
    groups = [channels[i : i + size] for i in range(0, len(channels), size)]
    return [[c * area + p for c in group] for group in groups for p in range(area)]


@pytest.mark.parametrize("blocks", BLOCKS, ids=lambda blocks: blocks.name)
def test_blocks_of_one_layer_are_the_best_there_are(wide, blocks):
    network, coupling = wide
    weights = {"2": plain_weights(network)["2"]}
    everything = blocks_of(list(range(5)), blocks, 2)
    for keep in (1, 2, 4):
        plan = choose_plan(network, coupling, weights, {}, {"2": keep}, blocks=blocks)
        energies = [
            float(weights["2"].flatten(1)[:, sorted(itertools.chain(*chosen))].square().sum())
            for chosen in itertools.combinations(everything, keep)
        ]
        assert kept_norm(weights, coupling, plan) == pytest.approx(max(energies), rel=1e-5)


def best_norm(weights, blocks, keep):
    """Largest squared norm that three filters of five, two of four, and `keep` blocks between them can keep."""
    first, second, third = (weights[name].flatten(1).square().numpy() for name in ("0", "2", "4"))
    best = 0.0
    for channels in itertools.combinations(range(5), 3):
        for rows in itertools.combinations(range(4), 2):
            sums = second[list(rows)].sum(0)
            for chosen in itertools.combinations(blocks_of(list(channels), blocks, 2), keep):
                columns = list(itertools.chain(*chosen))
                read = sorted({column // 2 for column in columns})  # a filter that nobody reads goes
                best = max(best, float(first[read].sum() + sums[columns].sum() + third[:, list(rows)].sum()))
    return best


@pytest.mark.parametrize(("blocks", "keep"), [(Column(), 4), (Channel(), 2), (BlockColumn(block=2), 3)])
def test_filters_and_blocks_together_are_near_the_best_there_are(wide, blocks, keep):
    network, coupling = wide
    ratios = []
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        weights = {
            name: torch.randn(value.shape, generator=generator) for name, value in plain_weights(network).items()
        }
        plan = choose_plan(network, coupling, weights, {"0": 3, "2": 2}, {"2": keep}, blocks=blocks)
        ratios.append(kept_norm(weights, coupling, plan) / best_norm(weights, blocks, keep))
    assert max(ratios) <= 1 + 1e-6
    assert min(ratios) > 0.75
    assert np.mean(ratios) > 0.93


def whole_blocks(layer, block=4):
    """Whether a layer's columns are blocks of `block` of its own channels, without a gap."""
    area = layer.kernel_size[0] * layer.kernel_size[1]
    columns = layer.columns.numpy()
    found = Counter(zip((columns // area // block).tolist(), (columns % area).tolist(), strict=True))
    return all(count == min(block, layer.in_channels - block * group) for (group, _), count in found.items())


@pytest.mark.parametrize("name", ["resnet20", "concatenated", "partly_shared", "padded_shortcut", "mobilenet_v2"])
@pytest.mark.parametrize("filters", [False, True], ids=["columns alone", "with filters"])
def test_blocks_are_whole_in_the_compact_network(network_of, name, filters):
    network = network_of(name)
    # Where filters go in a later round, too, channels shift: a new block may hold a column that went before.
    for seed in range(1 if filters else 3):
        coupling = find_coupling(network)
        rng = np.random.default_rng(seed)
        counts = {group.name: int(rng.integers(1, group.size + 1)) for group in coupling.prunable} if filters else {}
        shares = {layer: float(rng.uniform(0.1, 0.9)) for layer in coupling.column_layers}
        plan = choose_plan(network, coupling, folded_weights(network), counts, shares, blocks=BlockColumn())
        network = compact(network, coupling, plan)
        packed = [module for module in network.module.modules() if isinstance(module, ColumnConv2d)]
        assert packed
        assert all(whole_blocks(layer) for layer in packed)


class TwoReaders(nn.Module):
    """Two layers read the same channels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3)
        self.left, self.right = nn.Conv2d(6, 4, 3, bias=False), nn.Conv2d(6, 4, 3, bias=False)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return self.left(x) + self.right(x)


def test_a_layer_chooses_its_channels_though_another_reads_them():
    torch.manual_seed(0)
    network = capture(TwoReaders(), (2, 8, 8))
    coupling = find_coupling(network)
    weights = {name: value.clone() for name, value in plain_weights(network).items()}
    weights["left"][:, [1, 4]] *= 0.01
    weights["right"][:, [0, 4]] *= 0.01
    plan = choose_plan(network, coupling, weights, {}, {"left": 4, "right": 4}, blocks=Channel())
    kept = resolve_plan(coupling, plan)
    assert sorted(set((kept.columns("left") // 9).tolist())) == [0, 2, 3, 5]
    assert sorted(set((kept.columns("right") // 9).tolist())) == [1, 2, 3, 5]
    # Channel 4, which nobody reads any more, takes its filter along; 0 and 1 are read by one layer each.
    assert kept.filters("stem").tolist() == [True, True, True, True, False, True]


def test_choices_within_a_plan_bring_nothing_back(network_of):
    network = network_of("resnet20")
    coupling = find_coupling(network)
    weights = folded_weights(network)
    counts = {group.name: group.size // 2 for group in coupling.prunable}
    first = choose_plan(network, coupling, weights, counts, dict.fromkeys(coupling.column_layers, 0.5))
    before = resolve_plan(coupling, first)
    rng = np.random.default_rng(0)
    other = {name: torch.from_numpy(rng.standard_normal(value.shape)).float() for name, value in weights.items()}
    fewer = {name: max(1, count - 2) for name, count in counts.items()}
    columns = {name: max(1, len(before.columns(name)) // 2) for name in coupling.column_layers}
    after = resolve_plan(
        coupling, choose_plan(network, coupling, Scores(coupling, other, within=first), fewer, columns)
    )
    assert not (after.units & ~before.units).any()
    assert all(np.isin(after.columns(name), before.columns(name)).all() for name in coupling.layers)
