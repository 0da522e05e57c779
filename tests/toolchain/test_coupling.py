import numpy as np
import pytest
import torch
from act.models.registry import list_models
from act.toolchain.capture import capture
from act.toolchain.coupling import find_coupling
from torch import nn


def refs(references):
    return {ref.layer: list(zip(ref.positions.tolist(), ref.units.tolist(), strict=True)) for ref in references}


def same(first, second):
    return [(g.name, g.size, g.frozen, refs(g.producers), refs(g.norms), refs(g.consumers)) for g in first.groups] == [
        (g.name, g.size, g.frozen, refs(g.producers), refs(g.norms), refs(g.consumers)) for g in second.groups
    ]


def test_option_a_is_one_trunk_group_with_stages_at_offsets(network_of):
    coupling = find_coupling(network_of("resnet20"))
    trunk = coupling.by_name["conv1"]
    assert trunk.size == 64
    assert trunk.frozen is None
    assert len(trunk.producers) == 10  # the stem and nine blocks
    maps = {ref.layer: dict(zip(ref.positions.tolist(), ref.units.tolist(), strict=True)) for ref in trunk.producers}
    stem, second, third = maps["conv1"], maps["layer2.0.conv2"], maps["layer3.0.conv2"]
    assert [second[8 + i] for i in range(16)] == [stem[i] for i in range(16)]  # stage two pads 8 before
    assert [third[16 + i] for i in range(32)] == [second[i] for i in range(32)]  # stage three pads 16 before
    assert sorted(third.values()) == list(range(64))
    # Nothing else is coupled: one group a block, and the frozen output.
    assert [g.size for g in coupling.groups[1:]] == [16] * 3 + [32] * 3 + [64] * 3 + [10]
    assert coupling.frozen == (("linear", "its channels are the network's output"),)


def test_pads_in_the_graph_and_as_a_layer_give_the_same_offsets(network_of):
    coupling = find_coupling(network_of("padded_shortcut"))
    trunk = coupling.by_name["stem"]
    assert trunk.size == 10
    assert refs(trunk.producers)["conv2"][1:7] == [(i + 1, i) for i in range(6)]
    assert [ref.layer for ref in trunk.norms] == ["stem_bn", "bn2"]
    assert [ref.layer for ref in trunk.consumers] == ["conv1", "linear"]


def test_option_b_couples_main_path_and_projection(network_of):
    coupling = find_coupling(network_of("resnet18"))
    group = coupling.by_name["layer2.0.conv2"]
    producers = {ref.layer for ref in group.producers}
    assert producers == {"layer2.0.conv2", "layer2.0.downsample.0", "layer2.1.conv2"}


def test_depthwise_filters_belong_to_their_channel(network_of):
    coupling = find_coupling(network_of("depthwise"))
    group = coupling.by_name["expand"]
    assert group.size == 6
    assert refs(group.producers)["depthwise"] == [(i, i // 2) for i in range(12)]
    assert [ref.layer for ref in group.norms] == ["bn", "pre"]
    assert [ref.layer for ref in group.consumers] == ["project"]
    assert coupling.layers["depthwise"].kind == "grouped"
    assert "depthwise" not in coupling.column_layers
    # A flattened linear layer has four positions per unit, in order.
    assert refs(coupling.by_name["project"].consumers)["features"] == [(i, i // 4) for i in range(20)]


def test_concatenation_places_two_groups_in_one_consumer(network_of):
    coupling = find_coupling(network_of("concatenated"))
    first, second = coupling.by_name["a"], coupling.by_name["b"]
    assert refs(first.consumers)["c"] == [(i, i) for i in range(5)]
    assert refs(second.consumers)["c"] == [(5 + i, i) for i in range(4)]
    assert refs(second.norms)["bn"] == [(5 + i, i) for i in range(4)]


def test_unknown_operators_freeze_only_what_they_touch_and_are_named(network_of):
    coupling = find_coupling(network_of("gated"))
    frozen = dict(coupling.frozen)
    assert set(frozen) == {"body", "head"}
    assert "GroupNorm" in frozen["body"]
    assert "'norm'" in frozen["body"]
    assert [group.name for group in coupling.prunable] == ["stem", "free", "tail"]
    assert coupling.column_layers == ("stem", "squeeze", "body", "free", "tail")  # columns need no coupling


def test_a_gate_shares_the_units_of_what_it_multiplies(network_of):
    coupling = find_coupling(network_of("gated"))
    assert [ref.layer for ref in coupling.by_name["stem"].producers] == ["stem", "squeeze"]
    coupling = find_coupling(network_of("excited"))
    assert [ref.layer for ref in coupling.by_name["stem"].producers] == ["stem", "up"]
    assert [ref.layer for ref in coupling.by_name["stem"].consumers] == ["down", "body", "place"]
    assert [group.name for group in coupling.prunable] == ["stem", "down", "body"]
    assert "one channel multiplies" in dict(coupling.frozen)["place"]


def test_a_gate_that_a_layer_reads_freezes():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gate, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x):
            x = self.conv(x)
            gate = torch.sigmoid(self.gate(x))
            return self.head(x * gate).mean((2, 3)) + self.head(gate).mean((2, 3))

    coupling = find_coupling(capture(Net(), (3, 8, 8)))
    assert "sigmoid" in dict(coupling.frozen)["conv"]


def test_a_group_of_a_grouped_convolution_is_one_unit(network_of):
    coupling = find_coupling(network_of("grouped"))
    group = coupling.by_name["reduce"]
    assert group.size == 6
    assert refs(group.producers)["reduce"] == [(i, i // 2) for i in range(12)]
    assert refs(group.producers)["spatial"] == [(i, i // 3) for i in range(18)]
    assert refs(group.producers)["excite"] == [(i, i // 3) for i in range(18)]
    assert [ref.layer for ref in group.consumers] == ["squeeze", "expand"]
    assert coupling.frozen == (("head", "its channels are the network's output"),)


def test_a_shuffle_and_a_split_leave_channels_free(network_of):
    coupling = find_coupling(network_of("shuffled"))
    assert [(group.name, group.size) for group in coupling.prunable] == [("stem", 12), ("first", 6), ("second", 6)]
    inputs = coupling.layers["second"].inputs.tolist()
    stem, first = coupling.offsets["stem"], coupling.offsets["first"]
    # cat(stem 0..5, first 0..5) in two groups of six, read column by column: stem 0, first 0, stem 1, first 1, …
    pairs = zip(range(stem + 3, stem + 6), range(first + 3, first + 6), strict=True)
    assert inputs == [unit for pair in pairs for unit in pair]
    assert sorted(coupling.layers["head"].inputs.tolist()) == sorted(
        [*range(stem, stem + 3), *range(first, first + 3), *range(coupling.offsets["second"], coupling.total_units - 3)]
    )


def test_channels_may_lie_along_the_last_dimension(network_of):
    coupling = find_coupling(network_of("tokens"))
    assert [group.name for group in coupling.prunable] == ["up", "tail"]
    assert "LayerNorm" in dict(coupling.frozen)["stem"]
    assert coupling.layers["head"].inputs.tolist() == coupling.layers["tail"].outputs.tolist()


@pytest.mark.parametrize(
    ("between", "part"),
    [
        (nn.Sigmoid(), "'Sigmoid' (node '_1')"),
        (nn.BatchNorm2d(6, affine=False), "no scale and shift"),
        (nn.PixelShuffle(1), "'PixelShuffle'"),
        (nn.Hardtanh(0.5, 1.0), "'Hardtanh'"),
    ],
)
def test_operators_that_move_zero_or_mix_channels_freeze(between, part):
    network = capture(nn.Sequential(nn.Conv2d(3, 6, 3), between, nn.Conv2d(6, 2, 3)), (3, 12, 12))
    reason = find_coupling(network).by_name["0"].frozen
    assert reason is not None
    assert part in reason


@pytest.mark.parametrize(
    "expression", ["x + 1.0", "1.0 / x", "x.transpose(1, 2)", "x[:, 1:]", "x.mean(1, keepdim=True).expand_as(x)"]
)
def test_functions_that_move_zero_or_channels_freeze(expression):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x):
            x = self.conv(x)
            return eval(expression).mean((2, 3))

    assert find_coupling(capture(Net(), (3, 10, 10))).by_name["conv"].frozen


def test_weights_used_twice_couple_both_uses(network_of):
    coupling = find_coupling(network_of("recurrent"))
    group = coupling.by_name["stem"]
    assert [ref.layer for ref in group.producers] == ["stem", "shared"]
    assert {ref.layer: len(ref.units) for ref in group.consumers} == {"shared": 6, "head": 216}


@pytest.mark.parametrize("name", list_models())
def test_every_registered_network_prunes_everywhere_but_its_output(network_of, name):
    network = network_of(name)
    coupling = find_coupling(network)
    assert len(coupling.frozen) == 1
    convs = [n for n, m in network.module.named_modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
    assert set(coupling.column_layers) == set(convs)
    assert all(len(layer.inputs) and len(layer.outputs) for layer in coupling.layers.values())
    numbers = np.concatenate([layer.outputs for layer in coupling.layers.values()])
    assert set(numbers.tolist()) == set(range(coupling.total_units))


def test_coupling_is_deterministic(model_of):
    model, shape = model_of("mobilenet_v2")
    assert same(find_coupling(capture(model, shape)), find_coupling(capture(model, shape)))


def test_the_image_itself_is_never_pruned():
    # A depthwise convolution on the image shares its units with the image.
    network = capture(nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 4, 1)), (3, 8, 8))
    assert "input" in str(find_coupling(network).by_name["0"].frozen)
    assert network.module(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 6, 6)
