import time

import numpy as np
import pytest
import torch
from act.models.registry import create_model
from act.toolchain.capture import capture
from act.toolchain.compaction import compact
from act.toolchain.cost import CostTable, count_macs, count_params, layer_shapes
from act.toolchain.coupling import find_coupling
from act.toolchain.folding import fold_batch_norm
from act.toolchain.keep_indices import PruningPlan, normalize_plan
from torch import nn

NAMES = [
    "lenet5",
    "vgg16",
    "resnet20",
    "resnet18",
    "mobilenet_v2",
    "padded_shortcut",
    "concatenated",
    "depthwise",
    "gated",
    "grouped",
    "shuffled",
    "tokens",
]


@pytest.mark.parametrize("granularity", ["filter", "column", "combined"])
@pytest.mark.parametrize("name", NAMES)
def test_counts_under_a_plan_are_those_of_the_compact_network(network_of, random_plan, name, granularity):
    network = network_of(name)
    coupling = find_coupling(network)
    plan = normalize_plan(coupling, random_plan(coupling, np.random.default_rng(2), granularity))
    small = compact(network, coupling, plan)
    assert layer_shapes(network, coupling, plan) == layer_shapes(small)
    params = count_params(network, coupling, plan)
    assert params == count_params(small)
    assert count_macs(network, coupling, plan) == count_macs(small)
    folded = fold_batch_norm(small).module
    assert params.total == sum(parameter.numel() for parameter in folded.parameters())
    assert params.column_indices == sum(m.columns.numel() for m in folded.modules() if hasattr(m, "columns"))
    convs = [m for m in folded.modules() if isinstance(m, nn.Conv2d) or hasattr(m, "columns")]
    assert params.conv == sum(m.weight.numel() for m in convs)


def test_blocks_and_channels_are_counted_as_the_compact_network_numbers_them(network_of):
    network = network_of("lenet5")
    coupling = find_coupling(network)
    name = next(name for name in coupling.column_layers if coupling.layers[name].dense_columns >= 8 * 25)
    layer = coupling.layers[name]
    producer = next(group for group in coupling.prunable if group.size == len(layer.inputs))
    channels = np.setdiff1d(np.arange(len(layer.inputs)), [1])[
        :8
    ]  # the second channel goes: the fifth kept is the sixth
    whole = np.sort((channels[:4, None] * layer.kernel_area + np.arange(3)).reshape(-1)).astype(np.int32)
    keep = np.setdiff1d(np.arange(producer.size), [1]).astype(np.int32)
    plan = PruningPlan(keep_filters={producer.name: keep}, keep_columns={name: whole})
    found = {shape.name: shape for shape in layer_shapes(network, coupling, plan)}[name]
    assert (found.columns, found.blocks, found.read_channels) == (12, 3, None if found.c_in == 4 else 4)
    scattered = np.sort((channels[::3, None] * layer.kernel_area + np.arange(3)).reshape(-1)).astype(np.int32)
    plan = PruningPlan(keep_filters={producer.name: keep}, keep_columns={name: scattered})
    assert {shape.name: shape for shape in layer_shapes(network, coupling, plan)}[name].blocks is None


def test_known_counts():
    resnet20 = capture(create_model("resnet20", num_classes=10), (3, 32, 32))
    assert count_macs(resnet20) == 40_551_040  # 40.55 M in the literature
    assert count_params(resnet20).conv == 267_696
    assert count_params(resnet20).total == 267_696 + 688 + 650  # folded biases, linear layer
    resnet18 = capture(create_model("resnet18", num_classes=1000, stem="imagenet"), (3, 224, 224))
    assert count_macs(resnet18) == pytest.approx(1.814e9, rel=1e-3)


def test_layers_come_in_execution_order_with_their_sizes(network_of):
    shapes = layer_shapes(network_of("depthwise"))
    assert [(s.name, s.kind, s.c_in, s.c_out, s.groups) for s in shapes] == [
        ("expand", "conv", 3, 6, 1),
        ("depthwise", "depthwise", 6, 12, 6),
        ("second", "depthwise", 12, 12, 12),
        ("project", "conv", 12, 5, 1),
        ("adaptive_avg_pool2d", "pool", 5, 5, 5),
        ("features", "linear", 20, 7, 1),
        ("out", "linear", 7, 3, 1),
    ]
    assert shapes[3].padding == (2, 2)  # "same" with dilation 2
    assert shapes[4].kernel == (4, 4)
    resnet = layer_shapes(network_of("resnet20"))
    assert [s.kind for s in resnet].count("elementwise") == 9
    assert resnet[-1].kind == "linear"
    assert resnet[-2].kind == "pool"
    assert resnet[-2].kernel == resnet[-2].input_hw == (4, 4)


def test_pools_keep_their_windows():
    model = nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1), nn.Conv2d(3, 4, 1), nn.AvgPool2d((2, 1)))
    first, _, last = layer_shapes(capture(model, (3, 9, 9)))
    assert (first.kernel, first.stride, first.padding, first.output_hw) == ((3, 3), (2, 2), (1, 1), (5, 5))
    assert (last.kernel, last.stride, last.output_hw) == ((2, 1), (2, 1), (2, 5))
    assert first.macs == 0


def test_layers_used_twice_cost_time_twice_and_memory_once(network_of):
    network = network_of("recurrent")
    assert [s.name for s in layer_shapes(network)].count("shared") == 2
    assert count_params(network).total == sum(p.numel() for p in network.module.parameters())


def test_other_params_and_frozen_layers_count(network_of):
    network = network_of("gated")
    assert count_params(network).total == sum(p.numel() for p in network.module.parameters())
    batch_norm_first = capture(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)), (3, 4, 4))
    assert count_params(batch_norm_first).total == 6 + 8


def test_a_table_prices_plans_quickly(network_of, random_plan):
    network = network_of("resnet56")
    coupling = find_coupling(network)
    table = CostTable(network, coupling)
    plan = random_plan(coupling, np.random.default_rng(0), "combined")
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        table.layer_shapes(plan)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.03  # about 0.003 on an idle machine
    assert table.count_params(plan) == count_params(network, coupling, plan)


def test_nothing_is_built_or_changed(network_of, random_plan):
    network = network_of("resnet20")
    state = {key: value.clone() for key, value in network.module.state_dict().items()}
    coupling = find_coupling(network)
    layer_shapes(network, coupling, random_plan(coupling, np.random.default_rng(0), "combined"))
    assert all(torch.equal(state[key], value) for key, value in network.module.state_dict().items())
