"""The latency model: monotone, additive, fast, and in agreement with its calibration."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from act.compiler.latency_model import (
    CALIBRATED,
    MODEL_VERSION,
    kernel_cost,
    lowering_costs,
    modelled_kernels,
    modelled_latency_ms,
)
from act.compiler.layer_shape import LayerShape
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


@pytest.mark.parametrize("hw", [1, 4, 16, 56])
@pytest.mark.parametrize("kernel", [1, 3])
def test_more_channels_are_never_faster(hw, kernel):
    for make in (lambda c: conv(c_in=c, hw=hw, kernel=kernel), lambda c: conv(c_out=c, hw=hw, kernel=kernel)):
        values = [latency(make(channels)) for channels in range(1, 80)]
        assert values == sorted(values)


@pytest.mark.parametrize("hw", [4, 32])
def test_more_columns_are_never_faster_and_dense_is_the_ceiling(hw):
    values = [latency(conv(hw=hw, columns=columns)) for columns in range(1, 64 * 9 + 1)]
    assert values == sorted(values)
    assert values[0] < values[-1]


def test_five_channels_compute_like_eight():
    five, eight = (modelled_kernels([conv(c_out=c, hw=4, c_in=512)], TARGET)[0] for c in (5, 8))
    assert five.bound == eight.bound == "arithmetic"
    assert five.modelled_us == eight.modelled_us


def test_few_missing_columns_stay_dense_and_many_are_gathered():
    nearly, few = conv(columns=570, hw=32), conv(columns=60, hw=32)
    assert modelled_kernels([nearly], TARGET)[0].lowering == "dense"
    assert modelled_kernels([few], TARGET)[0].lowering == "column"


def test_gathered_columns_cost_more_per_mac_than_dense():
    costs = lowering_costs(conv(columns=288, hw=32), TARGET)
    busy = {name: cost.modelled_us - CALIBRATED.launch_us for name, cost in costs.items()}
    assert busy["column"] > 1.2 * busy["dense"] / 2


def test_dense_layer_has_one_lowering():
    assert set(lowering_costs(conv(), TARGET)) == {"dense"}


def test_latency_is_the_sum_of_its_kernels_and_one_sync():
    layers = [conv(name="a"), conv(hw=8, columns=99, name="b"), conv(kernel=1, name="c")]
    kernels = modelled_kernels(layers, TARGET)
    total_us = sum(kernel.modelled_us for kernel in kernels) + CALIBRATED.sync_us
    assert modelled_latency_ms(layers, TARGET) == pytest.approx(total_us * 1e-3)
    assert [kernel.name for kernel in kernels] == ["a", "b", "c"]


def test_large_linear_layer_is_bound_by_memory():
    linear = dataclasses.replace(conv(), kind="linear", c_in=25088, c_out=4096, kernel=(1, 1), padding=(0, 0))
    linear = dataclasses.replace(linear, columns=25088, input_hw=(1, 1), output_hw=(1, 1))
    kernel = modelled_kernels([linear], TARGET)[0]
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
    assert all(abs(row["ratio"] - 1) < 0.1 for row in result["dense"])
    assert len(result["dense"]) == 4
    assert len(result["pruned"]) == 11


def test_halves_have_half_the_traffic_and_the_same_arithmetic():
    half = get_target("adreno640", precision="fp16")
    streamed, busy = conv(c_in=4, c_out=64, hw=112, kernel=1), conv(c_in=512, c_out=512, hw=7)
    for layer, bound in ((streamed, "DRAM"), (busy, "arithmetic")):
        whole, stored = kernel_cost(layer, "dense", TARGET), kernel_cost(layer, "dense", half)
        assert whole.bound == bound
        assert stored.bytes * 2 == whole.bytes
        ratio = (stored.modelled_us - CALIBRATED.launch_us) / (whole.modelled_us - CALIBRATED.launch_us)
        assert ratio == pytest.approx(0.5 if bound == "DRAM" else 1.0)


def test_precision_changes_the_price_by_the_target_alone():
    layers = [conv(hw=56), conv(columns=288, hw=32)]
    assert latency(*layers, target=get_target("adreno640", precision="fp16")) < latency(*layers)
    assert latency(*layers, target=get_target("adreno640", precision="fp32")) == latency(*layers)
