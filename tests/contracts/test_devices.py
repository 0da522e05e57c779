"""What every device must do: local OpenCL, local Vulkan, a phone behind adb. A new one is one more entry of `KINDS`.

The phone is the emulated one with the runner of this machine, so that everything is really computed.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from act.device.devices import CandidateError, Device, TimingOptions
from act.device.harness import LatencyStats, measure, run_inputs
from act.device.local import find_libraries
from act.device.package_format import Package, PackageError
from act.device.reference import reference_package

QUICK = TimingOptions(
    runs=5, warmup=1, warmup_ms=0, max_warmup_ms=0, bursts=2, burst_runs=3, profile_runs=4, max_seconds=5
)
OPENCL = "__kernel void f(__global const float *x, __global const float *w, __global float *y) {{ int i = get_global_id(0); {body} }}"  # noqa: E501
GLSL = """#version 450
layout(local_size_x = {local}) in;
layout(std430, set = 0, binding = 0) readonly buffer X {{ float x[]; }};
layout(std430, set = 0, binding = 1) readonly buffer W {{ float w[]; }};
layout(std430, set = 0, binding = 2) buffer Y {{ float y[]; }};
{shared}
void main() {{ int i = int(gl_GlobalInvocationID.x); {body} }}
"""
ADD = "y[i] = 2.0f * x[i] + w[i % 4];"
WEIGHT = np.array([1, 2, 3, 4], np.float32)
KINDS = [
    pytest.param("opencl", marks=pytest.mark.opencl),
    pytest.param("vulkan", marks=pytest.mark.vulkan),
    pytest.param("phone", marks=pytest.mark.opencl),
]


@dataclass
class Subject:
    """A device, and packages in its language: four values through a kernel `f(x, w, y)` with the given body."""

    device: Device
    make: Any
    write: Any
    backend: str

    def package(self, body: str = ADD, *, shared: str = "", **arguments: Any) -> Package:
        if self.backend == "vulkan":
            text = GLSL.format(local=arguments.get("local", 4), shared=shared, body=body)
        else:
            text = OPENCL.format(body=body)
        return self.make(text, **arguments)

    def path(self, *body: str, **changes: Any):
        return self.write(dataclasses.replace(self.package(*body), **changes))


@pytest.fixture(params=KINDS)
def subject(request, write) -> Subject:
    kind = request.param
    if kind == "vulkan":
        make = request.getfixturevalue("vulkan_elementwise")
        return Subject(device=request.getfixturevalue("vulkan_device"), make=make, write=write, backend="vulkan")
    make = request.getfixturevalue("elementwise")
    local = request.getfixturevalue("device")
    chosen = request.getfixturevalue("phone_device") if kind == "phone" else local
    return Subject(device=chosen, make=make, write=write, backend="opencl")


@pytest.fixture
def phone_device(make_phone, open_phone_now, monkeypatch, runner):
    library = next(library for library in find_libraries() if library.backend == "opencl")
    hidden = {"VK_DRIVER_FILES": "/missing.json", "VK_ICD_FILENAMES": "/missing.json"}
    phone = make_phone(table=None, environment={**library.environment, **hidden})
    monkeypatch.setenv("ACT_PHONE_RUNNER", str(runner))
    return open_phone_now(phone, run_timeout_s=60)


def test_it_says_what_it_is(subject):
    info = subject.device.info
    assert info.id == subject.device.id
    assert subject.backend in info.backends and info.backend == info.backends[0]
    assert len(info.fingerprint) == 16 and info.name and info.target
    assert info.to_dict()["max_work_group_size"] >= 64
    json.dumps(subject.device.state())


def test_timing_gives_what_was_asked_for(subject):
    timing = subject.device.time(subject.path(), QUICK)
    assert (len(timing.single_ms), len(timing.burst_ms)) == (5, 2)
    assert len(timing.step_us) in (0, 1)  # none where the device has no clock
    assert all(sample > 0 for sample in timing.single_ms + timing.burst_ms)
    assert timing.verified_error < 1e-6
    assert timing.memory_bytes == 2048 + WEIGHT.nbytes
    assert timing.warmup_runs >= 1 and timing.timed_s > 0
    assert set(timing.state) == {"before", "after"}
    assert timing.reference_before_ms == timing.reference_after_ms == ()


def test_a_reference_is_timed_before_and_after(subject):
    options = dataclasses.replace(QUICK, reference=reference_package(subject.backend))
    timing = subject.device.time(subject.path(), options)
    assert timing.reference_problem == ""
    assert min(timing.reference_before_ms + timing.reference_after_ms) > 0
    assert 3 <= len(timing.reference_before_ms) <= 25 and 3 <= len(timing.reference_after_ms) <= 25


def test_the_time_limit_leaves_three_samples(subject):
    options = dataclasses.replace(QUICK, runs=1_000_000, max_seconds=0.001, bursts=0, profile_runs=0)
    assert 3 <= len(subject.device.time(subject.path(), options).single_ms) < 100_000


def test_a_measurement_is_whole_and_survives_json(subject):
    stats = measure(subject.path(), subject.device, runs=12, warmup=1, max_seconds=2, profile_runs=3)
    assert (stats.device, stats.fingerprint) == (subject.device.id, subject.device.info.fingerprint)
    assert (stats.backend, stats.batch, stats.precision) == (subject.backend, 1, "fp32")
    assert len(stats.samples_ms) == 12 and stats.minimum <= stats.p50 <= stats.p90
    assert len(stats.reference_ms) == 2 and stats.drift is not None
    assert LatencyStats.from_dict(json.loads(json.dumps(stats.to_dict()))) == stats


@pytest.mark.parametrize("count", [0, 1, 5])
def test_inputs_are_run_in_the_packages_batches(subject, count):
    inputs = np.random.default_rng(1).standard_normal((count, 4))
    found = run_inputs(subject.write(subject.package(batch=2)), subject.device, inputs)
    np.testing.assert_allclose(found, 2 * inputs + WEIGHT, rtol=1e-5, atol=1e-6)


def test_the_arena_is_zero_at_load(subject):
    base = subject.package("y[i] = x[i] + w[i];")
    halo = dataclasses.replace(base.buffers[1], role="activation", offset=2048)
    package = dataclasses.replace(
        base,
        arena_bytes=4096,
        buffers=(base.buffers[0], halo, base.buffers[2]),
        weights=b"",
        verification_output=base.verification_input,
    )
    assert subject.device.verify(subject.write(package)) == 0


def test_steps_see_what_earlier_ones_wrote(subject):
    """Many steps through one another's results."""
    base = subject.package()
    roles = {0: "input", 15: "output"}
    buffers = [base.buffers[1]]
    buffers += [
        dataclasses.replace(base.buffers[0], name=f"t{i}", role=roles.get(i, "activation"), offset=1024 * i)
        for i in range(16)
    ]
    steps = tuple(dataclasses.replace(base.steps[0], arguments=(i, 0, i + 1)) for i in range(1, 16))
    expected = base.verification_input.astype(np.float64)
    for _ in steps:
        expected = 2 * expected + WEIGHT
    package = dataclasses.replace(
        base,
        arena_bytes=16 * 1024,
        buffers=tuple(buffers),
        steps=steps,
        inputs=(1,),
        outputs=(16,),
        verification_output=expected.astype(np.float32),
    )
    assert subject.device.verify(subject.write(package)) < 1e-6


def test_a_wrong_output_is_refused_before_timing(subject):
    path = subject.path(verification_output=subject.package().verification_output + 1)
    with pytest.raises(CandidateError, match="differs from the expected one") as error:
        subject.device.time(path, QUICK)
    assert error.value.reason == "wrong_output"
    assert subject.device.verify(path, tolerance=2.0) > 1e-3


@pytest.mark.parametrize("body", ["y[i] = sqrt(-1.0f - x[i]);", "y[i] += 2.0f * x[i] + w[i % 4];"])
def test_nan_and_results_that_depend_on_earlier_runs_are_wrong_outputs(subject, body):
    with pytest.raises(CandidateError) as error:
        subject.device.verify(subject.path(body))
    assert error.value.reason == "wrong_output"


def test_too_much_local_memory_is_the_candidates_fault(subject):
    if subject.backend == "vulkan":
        package = subject.package("t[i] = x[i]; barrier(); y[i] = t[1] + w[0];", shared="shared float t[4 << 20];")
    else:
        package = subject.package("__local float t[1 << 22]; t[i] = x[i]; barrier(1); y[i] = t[1] + w[0];")
    with pytest.raises(CandidateError, match="local memory") as error:
        subject.device.verify(subject.write(package))
    assert error.value.reason == "launch_failure"


def test_more_memory_than_the_device_has_is_said_before_it_is_asked_for(subject):
    with pytest.raises(CandidateError, match=r"the device has") as error:
        subject.device.verify(subject.path(arena_bytes=1 << 60))
    assert error.value.reason == "out_of_memory"


def test_packages_for_another_backend_are_refused_by_name(subject, elementwise, vulkan_elementwise, write):
    other = elementwise() if subject.backend == "vulkan" else vulkan_elementwise()
    with pytest.raises(PackageError, match=f"cannot run on {subject.device.id}, which takes {subject.backend}"):
        measure(write(other), subject.device, runs=3)


def test_damaged_packages_never_reach_the_device(subject):
    path = subject.path()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(PackageError, match="cut short"):
        measure(path, subject.device, runs=3)
    with pytest.raises(PackageError):
        subject.device.verify(path)  # the runner looks for itself
