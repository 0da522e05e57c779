"""The latency model: monotone, additive, fast, and in agreement with its calibration."""

import dataclasses
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
from act.compiler import latency_model
from act.compiler.latency_model import (
    CALIBRATED,
    MODEL_VERSION,
    kernel_cost,
    lowering_costs,
    modelled_kernels,
    modelled_latency_ms,
)
from act.compiler.layer_shape import LayerShape
from act.compiler.schedules.tile import choose_tile
from act.compiler.targets import get_target, list_targets

ROOT = Path(__file__).parents[2]
TARGET = get_target("adreno640")


def conv(c_in=64, c_out=64, hw=16, kernel=3, stride=1, columns=None, name="conv"):
    dense = c_in * kernel * kernel
    return LayerShape(
        name=name,
        kind="conv",
        c_in=c_in,
        c_out=c_out,
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=(kernel // 2, kernel // 2),
        dilation=(1, 1),
        groups=1,
        input_hw=(hw, hw),
        output_hw=(hw // stride, hw // stride),
        columns=dense if columns is None else columns,
    )


def latency(*layers, target=TARGET):
    return modelled_latency_ms(layers, target)


def linear(c_in, c_out):
    shape = dataclasses.replace(conv(c_in, c_out, hw=1, kernel=1), kind="linear")
    return dataclasses.replace(shape, input_hw=(1, 1), output_hw=(1, 1))


@pytest.mark.parametrize("target", ["adreno640", "adreno750", "host-opencl", "host-vulkan"])
@pytest.mark.parametrize("hw", [1, 2, 4, 7, 16, 56])
@pytest.mark.parametrize("kernel", [1, 3])
def test_more_channels_are_never_faster(hw, kernel, target):
    makers = [lambda c: conv(c_in=c, hw=hw, kernel=kernel), lambda c: conv(c_out=c, hw=hw, kernel=kernel)]
    if hw == 1:
        makers += [lambda c: linear(c, 10), lambda c: linear(64, c)]
    for make in makers:
        values = [latency(make(channels), target=get_target(target)) for channels in [*range(1, 80), 96, 256, 511, 512]]
        assert values == sorted(values)


@pytest.mark.parametrize(("c_in", "c_out", "hw"), [(512, 512, 4), (512, 512, 2), (64, 64, 32), (512, 48, 7)])
def test_work_items_are_those_of_the_compilers_tile(c_in, c_out, hw):
    tile = choose_tile(c_out, (hw, hw), 1, TARGET)
    items = -(-c_out // tile.filters) * hw * -(-hw // tile.pixels)
    spread = latency_model._spread(conv(c_in=c_in, c_out=c_out, hw=hw), TARGET)
    assert 0.5 < spread.work_items / items < 2


def test_a_small_late_layer_waits_and_a_large_early_one_works():
    late, early = modelled_kernels([conv(c_in=512, c_out=512, hw=2), conv(c_in=64, c_out=64, hw=224)], TARGET)
    assert late.bound == "waiting"
    assert late.modelled_us > 512 * 9 * CALIBRATED.wait_us
    per_mac = [cost.modelled_us / shape for cost, shape in ((late, 512 * 512 * 9 * 4), (early, 64 * 64 * 9 * 224**2))]
    assert per_mac[0] > 5 * per_mac[1]


def test_the_wait_is_within_what_dependent_loads_were_measured_to_take():
    assert 0.113 <= CALIBRATED.wait_us <= 0.203


@pytest.mark.parametrize("hw", [4, 32])
def test_more_columns_are_never_faster_and_dense_is_the_ceiling(hw):
    values = [latency(conv(hw=hw, columns=columns)) for columns in range(1, 64 * 9 + 1)]
    assert values == sorted(values)
    assert values[0] < values[-1]


def test_five_channels_compute_like_eight():
    five, eight = (modelled_kernels([conv(c_out=c, hw=4, c_in=512)], TARGET)[0] for c in (5, 8))
    inner = [cost.modelled_us - 1e-3 * cost.bytes / TARGET.machine.dram_gbps for cost in (five, eight)]
    assert inner[0] == pytest.approx(inner[1])


def test_few_missing_columns_stay_dense_and_many_are_gathered():
    nearly, few = conv(columns=570, hw=32), conv(columns=60, hw=32)
    assert modelled_kernels([nearly], TARGET)[0].lowering == "dense"
    assert modelled_kernels([few], TARGET)[0].lowering == "column"


def test_a_packed_column_costs_more_than_a_column_of_a_block_and_that_more_than_a_dense_one():
    shape = conv(columns=288, hw=32)
    costs = lowering_costs(dataclasses.replace(shape, blocks=72), TARGET)
    per_column = {
        name: (cost.modelled_us - CALIBRATED.launch_us - 1e-3 * cost.bytes / TARGET.machine.dram_gbps) / columns
        for (name, cost), columns in zip(costs.items(), (576, 288, 288), strict=True)
    }
    assert 1.23 < per_column["column"] / per_column["dense"] < 1.7
    assert per_column["dense"] < per_column["block"] < 0.9 * per_column["column"]


def test_lowerings_are_those_that_the_shape_tells_of():
    pruned = conv(columns=90)
    assert set(lowering_costs(pruned, TARGET)) == {"dense", "column"}
    assert set(lowering_costs(dataclasses.replace(pruned, read_channels=64, blocks=90), TARGET)) == {
        "dense", "column", "block",
    }  # fmt: skip
    channels = dataclasses.replace(pruned, read_channels=10, blocks=27)
    assert set(lowering_costs(channels, TARGET)) == {"dense", "channel", "column", "block"}
    assert modelled_kernels([channels], TARGET)[0].lowering == "channel"
    with pytest.raises(ValueError, match="counted"):
        kernel_cost(pruned, "block", TARGET)


def test_on_a_cpu_dense_kernels_read_a_table_too():
    shape = dataclasses.replace(conv(columns=288, hw=32), blocks=72)
    lanes, scalar = (
        {name: cost.modelled_us for name, cost in lowering_costs(shape, get_target(target)).items()}
        for target in ("host-vulkan", "host-opencl")
    )
    assert lanes["column"] < 0.55 * lanes["dense"]
    assert "block" not in lanes
    assert scalar["block"] < 0.55 * scalar["dense"] < scalar["column"] < 0.65 * scalar["dense"]


def test_dense_layer_has_one_lowering():
    assert set(lowering_costs(conv(), TARGET)) == {"dense"}


def test_latency_is_the_sum_of_its_kernels_and_one_sync():
    layers = [conv(name="a"), conv(hw=8, columns=99, name="b"), conv(kernel=1, name="c")]
    kernels = modelled_kernels(layers, TARGET)
    total_us = sum(kernel.modelled_us for kernel in kernels) + CALIBRATED.sync_us
    assert modelled_latency_ms(layers, TARGET) == pytest.approx(total_us * 1e-3)
    assert [kernel.name for kernel in kernels] == ["a", "b", "c"]


def test_large_linear_layer_is_bound_by_memory():
    kernel = modelled_kernels([linear(25088, 4096)], TARGET)[0]
    assert kernel.bound == "DRAM"
    assert kernel.modelled_us == pytest.approx(4 * 25088 * 4096 / 30e3, rel=0.02)


def test_addition_is_fused_and_pool_is_a_kernel():
    pool = dataclasses.replace(conv(), kind="pool", groups=64, columns=9)
    addition = dataclasses.replace(pool, kind="elementwise", kernel=(1, 1), columns=1)
    assert modelled_kernels([addition], TARGET)[0].modelled_us < 5
    assert modelled_kernels([pool], TARGET)[0].modelled_us > CALIBRATED.launch_us


def test_depthwise_is_cheaper_than_conv():
    depthwise = dataclasses.replace(conv(), kind="depthwise", groups=64, columns=9)
    assert latency(depthwise) < latency(conv())


def test_faster_gpus_are_faster():
    layers = [conv(hw=56), conv(hw=28, c_in=128, c_out=128)]
    by_name = {name: latency(*layers, target=get_target(name)) for name in list_targets()}
    assert by_name["adreno750"] < by_name["adreno650"] < by_name["adreno640"] < by_name["adreno618"]


def test_a_resnet_sized_call_takes_under_a_fifth_of_a_millisecond_once_cached():
    layers = [conv(c_in=16 + i, c_out=16 + i, hw=32, name=str(i)) for i in range(22)]
    modelled_latency_ms(layers, TARGET)
    best = min(_timed(lambda: modelled_latency_ms(layers, TARGET)) for _ in range(50))
    assert best < 0.2e-3


def _timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_constants_are_those_that_the_calibration_finds():
    script = ROOT / "benchmarks" / "calibrate_latency_model.py"
    run = subprocess.run([sys.executable, str(script), "--json"], capture_output=True, text=True, check=True)
    result = json.loads(run.stdout)
    assert result["model_version"] == MODEL_VERSION
    assert result["found"] == pytest.approx(dataclasses.asdict(CALIBRATED), rel=2e-3)
    assert all(abs(math.log(row["ratio"])) < 0.2 for row in result["dense"])
    assert len(result["dense"]) == 4
    assert len(result["pruned"]) == 11


def test_halves_have_half_the_traffic_and_the_same_arithmetic():
    half = get_target("adreno640", precision="fp16")
    for layer in (conv(c_in=4, c_out=64, hw=112, kernel=1), conv(c_in=512, c_out=512, hw=7)):
        whole, stored = kernel_cost(layer, "dense", TARGET), kernel_cost(layer, "dense", half)
        assert stored.bytes * 2 == whole.bytes
        saved_us = whole.modelled_us - stored.modelled_us
        assert saved_us >= 1e-3 * stored.bytes / TARGET.machine.dram_gbps * (1 - 1e-9)


def test_precision_changes_the_price_by_the_target_alone():
    layers = [conv(hw=56), conv(columns=288, hw=32)]
    assert latency(*layers, target=get_target("adreno640", precision="fp16")) < latency(*layers)
    assert latency(*layers, target=get_target("adreno640", precision="fp32")) == latency(*layers)
