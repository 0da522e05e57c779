import copy
import functools

import numpy as np
import pytest
import torch
from act.models.layers import ChannelPad, ColumnConv2d
from act.models.registry import create_model, list_models
from act.toolchain.capture import capture
from act.toolchain.compaction import compact
from act.toolchain.coupling import find_coupling
from act.toolchain.equality import relative_difference
from act.toolchain.folding import fold_batch_norm
from act.toolchain.grouped import SingleGroupConv2d
from act.toolchain.keep_indices import PlanError, PruningPlan, compose_plans, normalize_plan
from act.toolchain.masking import make_masks
from torch import nn

HAND_MADE = [
    *("padded_shortcut", "concatenated", "depthwise", "gated", "excited", "grouped", "shuffled", "tokens"),
    *("partly_shared", "recurrent"),
]
GRANULARITIES = ["filter", "column", "combined"]


def outputs(module, x):
    with torch.no_grad():
        return module.eval()(x)


def masked_outputs(network, coupling, plan, x):
    module = copy.deepcopy(network.module)
    make_masks(network, coupling, plan).apply_(module)
    return outputs(module, x)


def same_state(first, second):
    a, b = first.module.state_dict(), second.module.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def check_rounds(network, random_plan, x, rng, granularity, rounds=2):
    """Masked = compact = folded in every round; and all rounds at once give the same network."""
    start, plans = network, []
    for _ in range(rounds):
        coupling = find_coupling(network)
        plan = random_plan(coupling, rng, granularity)
        small = compact(network, coupling, plan)
        expected = masked_outputs(network, coupling, plan, x)
        assert expected.abs().max() > 0
        assert relative_difference(outputs(small.module, x), expected) < 1e-5
        assert relative_difference(outputs(fold_batch_norm(small).module, x), expected) < 1e-5
        plans.append(plan)
        network = small
    composed = functools.reduce(functools.partial(compose_plans, start), plans)
    assert same_state(compact(start, find_coupling(start), composed), network)
    return network


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", list_models())
def test_registered_networks(network_of, random_plan, images_for, name, granularity):
    network = network_of(name)
    rounds = 2 if granularity == "combined" else 1
    check_rounds(network, random_plan, images_for(network, 2), np.random.default_rng(1), granularity, rounds)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", HAND_MADE)
def test_hand_made_networks(network_of, random_plan, images_for, name, granularity):
    network = network_of(name)
    for seed in range(4):
        check_rounds(network, random_plan, images_for(network), np.random.default_rng(seed), granularity)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_imagenet_stems(randomize, random_plan, images_for, name):
    torch.manual_seed(0)
    model = randomize(create_model(name, num_classes=10, stem="imagenet")).eval()
    network = capture(model, (3, 48, 48))
    check_rounds(network, random_plan, images_for(network, 2), np.random.default_rng(0), "combined")


def test_layers_really_shrink(network_of):
    network = network_of("padded_shortcut")
    coupling = find_coupling(network)
    plan = PruningPlan(
        keep_filters={"stem": np.array([1, 2, 4, 7], np.int32), "conv1": np.array([0, 9], np.int32)},
        keep_columns={"conv2": np.array([0, 5, 17 * 3, 85], np.int32)},
    )
    small = compact(network, coupling, plan).module
    assert small.stem.weight.shape == (3, 3, 3, 3)
    assert small.stem_bn.running_var.shape == (3,)
    assert small.conv1.weight.shape == (2, 3, 3, 3)
    assert isinstance(small.conv2, ColumnConv2d)
    assert small.conv2.weight.shape == (4, 3)  # column 51 belonged to a removed channel
    assert small.conv2.columns.tolist() == [0, 5, 13]
    assert small.conv2.columns.dtype == torch.int32
    assert small.linear.weight.shape == (4, 4)
    pad = next(node for node in small.graph.nodes if node.name == "pad")
    assert pad.args[1] == (0, 0, 0, 0, 0, 1)


def test_channel_pads_are_rewritten(network_of):
    network = network_of("resnet20")
    coupling = find_coupling(network)
    trunk = coupling.by_name["conv1"]
    stages = {ref.layer: ref.units for ref in trunk.producers}
    second = stages["layer2.0.conv2"]
    plan = PruningPlan(keep_filters={"conv1": np.sort(second[[0, 1, 9, 31]]).astype(np.int32)})
    small = compact(network, coupling, plan).module
    pads = [(m.before, m.after) for m in small.modules() if isinstance(m, ChannelPad)]
    assert pads == [(2, 1), (0, 0)]
    assert small.conv1.out_channels == 1


def test_keeping_every_column_of_what_is_left_gives_a_plain_convolution(network_of):
    network = network_of("padded_shortcut")
    coupling = find_coupling(network)
    plan = PruningPlan(
        keep_filters={"conv1": np.array([2], np.int32)}, keep_columns={"conv2": np.arange(18, 27, dtype=np.int32)}
    )
    small = compact(network, coupling, plan)
    assert type(small.module.conv2) is nn.Conv2d
    # And a packed layer whose remaining columns fill what is left becomes plain again.
    packed = compact(network, coupling, PruningPlan(keep_columns={"conv2": np.arange(0, 27, dtype=np.int32)}))
    again = compact(packed, find_coupling(packed), PruningPlan(keep_filters={"conv1": np.array([1, 2], np.int32)}))
    assert type(again.module.conv2) is nn.Conv2d


def test_the_original_is_left_alone(network_of, random_plan, images_for):
    network = network_of("vgg16")
    x = images_for(network)
    before, state = outputs(network.module, x), copy.deepcopy(network.module.state_dict())
    coupling = find_coupling(network)
    small = compact(network, coupling, random_plan(coupling, np.random.default_rng(0), "combined"))
    with torch.no_grad():
        for parameter in small.module.parameters():
            parameter.fill_(1.0)
    assert torch.equal(outputs(network.module, x), before)
    assert all(torch.equal(state[key], value) for key, value in network.module.state_dict().items())


def test_an_empty_plan_copies(network_of, images_for):
    network = network_of("depthwise")
    small = compact(network, find_coupling(network), PruningPlan())
    assert same_state(small, network)
    assert {node.name for node in small.module.graph.nodes} == {node.name for node in network.module.graph.nodes}


def test_modes_gradients_and_random_state_are_kept(network_of, random_plan, images_for):
    network = network_of("resnet20")
    network.module.train()
    network.module.get_submodule("layer1.0.conv1").weight.requires_grad_(False)
    coupling = find_coupling(network)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    small = compact(network, coupling, random_plan(coupling, np.random.default_rng(0), "combined"))
    assert torch.equal(torch.rand(1), expected)
    assert small.module.training
    assert all(module.training for module in small.module.modules())
    assert not small.module.get_submodule("layer1.0.conv1").weight.requires_grad
    small.module(images_for(small, 4)).sum().backward()
    trained = [name for name, p in small.module.named_parameters() if p.grad is None]
    assert trained == ["layer1.0.conv1.weight"]


def test_a_depthwise_layer_of_one_channel_stays_depthwise(network_of, images_for):
    network = network_of("depthwise")
    coupling = find_coupling(network)
    small = compact(network, coupling, PruningPlan(keep_filters={"expand": np.array([3], np.int32)}))
    assert isinstance(small.module.depthwise, SingleGroupConv2d)
    again = find_coupling(small)
    assert again.layers["depthwise"].kind == "grouped"
    assert again.by_name["expand"].size == 1
    assert "depthwise" not in again.column_layers
    recaptured = capture(small.module, small.input_shape)
    assert find_coupling(recaptured).layers["depthwise"].kind == "grouped"


def test_a_grouped_layer_of_one_group_stays_grouped(network_of, images_for):
    network = network_of("grouped")
    coupling = find_coupling(network)
    small = compact(network, coupling, PruningPlan(keep_filters={"reduce": np.array([4], np.int32)}))
    assert isinstance(small.module.spatial, SingleGroupConv2d)
    assert (small.module.spatial.in_channels, small.module.spatial.out_channels) == (2, 3)
    again = find_coupling(small)
    assert again.by_name["reduce"].size == 1
    assert "spatial" not in again.column_layers


def test_a_split_may_lose_channels_unevenly(network_of, images_for):
    network = network_of("shuffled")
    coupling = find_coupling(network)
    x = images_for(network)
    plan = PruningPlan(keep_filters={"stem": np.array([1, 7, 8, 9, 11], np.int32), "first": np.array([2], np.int32)})
    small = compact(network, coupling, plan)
    torch.testing.assert_close(outputs(small.module, x), masked_outputs(network, coupling, plan, x), rtol=0, atol=1e-6)


def test_units_nobody_reads_go_with_their_filters(network_of):
    network = network_of("padded_shortcut")
    coupling = find_coupling(network)
    plan = PruningPlan(keep_columns={"conv2": np.arange(9, 20, dtype=np.int32)})
    assert normalize_plan(coupling, plan).keep_filters["conv1"].tolist() == [1, 2]
    assert compact(network, coupling, plan).module.conv1.out_channels == 2


def test_half_precision_and_foreign_plans(network_of, random_plan):
    network = network_of("resnet20")
    coupling = find_coupling(network)
    network.module.bfloat16()
    small = compact(network, coupling, random_plan(coupling, np.random.default_rng(0), "combined"))
    assert {p.dtype for p in small.module.parameters()} == {torch.bfloat16}
    other = network_of("padded_shortcut")
    with pytest.raises(PlanError, match=r"no coupling group 'layer1\.0\.conv1'"):
        compact(other, find_coupling(other), PruningPlan(keep_filters={"layer1.0.conv1": np.array([0], np.int32)}))
