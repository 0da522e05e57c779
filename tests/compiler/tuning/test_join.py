"""Several packages as one: each output is its own, and the device verifies all of them."""

from dataclasses import replace

import numpy as np
import pytest
from act.compiler.tuning.join import join_packages
from act.device.errors import CandidateError
from act.device.package_format import read_package, write_package

from ..kernel_check import compile_model, local_device
from ..onnx_networks import conv_model


@pytest.fixture
def package(tmp_path):
    return read_package(compile_model(conv_model(), tmp_path).path)


def test_buffers_and_kernels_are_joined_and_turns_repeat_steps(package):
    other = replace(package, verification_output=package.verification_output + 1)
    joined = join_packages([package, other], [0, 1, 1, 0])
    assert len(joined.steps) == 4 * len(package.steps)
    assert len(joined.kernels) == len(package.kernels)
    assert len(joined.outputs) == 2 and len(joined.inputs) == 1
    assert joined.arena_bytes >= 2 * package.arena_bytes
    assert joined.steps[0] == joined.steps[3 * len(package.steps)]
    np.testing.assert_array_equal(joined.verification_output.reshape(2, -1)[1], other.verification_output.reshape(-1))


@pytest.mark.parametrize("turns", [[], [0], [0, 2], [1, 1]])
def test_each_package_needs_a_turn(package, turns):
    with pytest.raises(ValueError, match="each needs at least one turn"):
        join_packages([package, replace(package)], turns)


def test_packages_of_other_inputs_are_refused(package):
    other = replace(package, verification_input=package.verification_input + 1)
    with pytest.raises(ValueError, match="differ in target or input"):
        join_packages([package, other], [0, 1])


@pytest.mark.opencl
def test_every_output_is_verified_on_a_device(package, tmp_path):
    device, path = local_device(), tmp_path / "joined.actpkg"
    write_package(path, join_packages([package, replace(package)], [0, 1, 0]))
    assert device.verify(path) < 1e-6
    wrong = replace(package, verification_output=package.verification_output * 2)
    write_package(path, join_packages([package, wrong], [0, 1]))
    with pytest.raises(CandidateError, match="output differs"):
        device.verify(path)
