import dataclasses
import math

import numpy as np
import pytest
from act.compiler.latency_fit import fit_parameters
from act.compiler.latency_model import default_parameters, modelled_kernels, modelled_latency_ms
from act.compiler.targets import get_target

from .test_latency_model import conv, linear

LAYERS = [conv(c_in=c, c_out=c, hw=hw) for c, hw in ((16, 32), (64, 32), (128, 16), (256, 8), (512, 4), (512, 2))]
LAYERS += [conv(c_in=64, c_out=256, hw=56, kernel=1), conv(hw=16, columns=100), linear(512, 10), conv(3, 64, 112, 7, 2)]
HELD_OUT = [conv(c_in=48, c_out=80, hw=24), conv(c_in=200, c_out=300, hw=7), conv(hw=28, columns=200)]


def times(layers, target, parameters):
    return [kernel.modelled_us for kernel in modelled_kernels(layers, target, parameters)]


@pytest.mark.parametrize("name", ["adreno640", "host-opencl", "host-vulkan"])
def test_a_device_that_obeys_the_model_is_found_again(name):
    target = get_target(name)
    start = default_parameters(target)
    device = dataclasses.replace(start, wait_us=start.wait_us * 2.5, launch_us=30.0, efficiency=0.3)
    rng = np.random.default_rng(0)
    measured = [value * math.exp(0.05 * rng.standard_normal()) for value in times(LAYERS, target, device)]
    found = fit_parameters(LAYERS, measured, target)
    for fitted, default, true in zip(
        *(times(HELD_OUT, target, constants) for constants in (found, start, device)), strict=True
    ):
        assert abs(math.log(fitted / true)) < min(0.15, abs(math.log(default / true)))


def test_a_time_that_other_work_stretched_moves_little():
    target = get_target("host-opencl")
    device = dataclasses.replace(default_parameters(target), wait_us=0.003, launch_us=30.0)
    measured = times(LAYERS, target, device)
    measured[3] *= 10
    found = fit_parameters(LAYERS, measured, target)
    for fitted, true in zip(times(HELD_OUT, target, found), times(HELD_OUT, target, device), strict=True):
        assert abs(math.log(fitted / true)) < 0.15


def test_few_kernels_leave_the_rest_as_it_was():
    target = get_target("adreno640")
    start = default_parameters(target)
    assert fit_parameters(LAYERS[:1], times(LAYERS[:1], target, start), target) == start
    found = fit_parameters(LAYERS[4:5], [2 * value for value in times(LAYERS[4:5], target, start)], target)
    assert found.wait_us > 1.5 * start.wait_us  # a late layer: it waits
    assert found.launch_us < 1.5 * start.launch_us


def test_the_order_of_measurements_does_not_matter():
    target = get_target("host-opencl")
    measured = [3 * value for value in times(LAYERS, target, default_parameters(target))]
    found = fit_parameters(LAYERS, measured, target)
    assert found == fit_parameters(LAYERS[::-1], measured[::-1], target)
    assert modelled_latency_ms(LAYERS, target, found) > 2 * modelled_latency_ms(LAYERS, target)


@pytest.mark.parametrize("values", [[], [1.0, 2.0], [0.0], [math.inf], [math.nan]])
def test_what_is_no_measurement_is_refused(values):
    with pytest.raises(ValueError, match="time"):
        fit_parameters(LAYERS[:1], values, get_target("host-opencl"))
