"""Hand-written packages on a real OpenCL device."""

import dataclasses
import fcntl
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from act.device.cache import cache_folder
from act.device.devices import CandidateError, DeviceError, TimingOptions, open_device
from act.device.local import DriverLibrary, find_libraries, list_local_devices, probe_libraries
from act.device.package_format import PackageError

pytestmark = pytest.mark.opencl

SIGNATURE = "__kernel void f(__global const float *x, __global const float *w, __global float *y)"
QUICK = TimingOptions(runs=5, warmup=1, warmup_ms=0, bursts=2, burst_runs=3, profile_runs=4, max_seconds=5)


def test_devices_are_named_and_have_a_stable_fingerprint(device):
    first, again = list_local_devices()[0], list_local_devices()[0]
    assert first == again
    assert first.id == "opencl:0"
    assert len(first.fingerprint) == 16
    assert first.compute_units >= 1
    assert open_device("opencl:0").info.to_dict()["name"] == first.name


def test_a_conv_in_two_steps_is_verified(device, conv_path):
    assert device.verify(conv_path) < 1e-5


def test_several_inputs_and_outputs_are_verified(device, write, elementwise):
    source = (
        "__kernel void f(__global const float *a, __global const float *b, __global float *s, __global float *d) {"
        " int i = get_global_id(0); s[i] = a[i] + b[i]; d[i] = a[i] - b[i]; }"
    )
    base = elementwise(source)
    roles = ("input", "input", "output", "output")
    buffers = tuple(
        dataclasses.replace(base.buffers[0], name=f"t{i}", role=role, offset=1024 * i) for i, role in enumerate(roles)
    )
    a, b = np.arange(4, dtype=np.float32), np.array([5, 1, 7, 2], np.float32)
    step = dataclasses.replace(base.steps[0], arguments=(0, 1, 3, 2))
    package = dataclasses.replace(
        base,
        arena_bytes=4096,
        buffers=buffers,
        steps=(step,),
        inputs=(0, 1),
        outputs=(3, 2),
        verification_input=np.concatenate([a, b]),
        verification_output=np.concatenate([a + b, a - b]),
    )
    assert device.verify(write(package)) == 0


def test_processes_do_not_time_on_one_device_at_once(device, conv_path):
    lock = cache_folder() / f"device-{device.info.fingerprint}.lock"
    with ThreadPoolExecutor() as pool, lock.open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        waiting = pool.submit(device.time, conv_path, QUICK)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=1.0)
        fcntl.flock(holder, fcntl.LOCK_UN)
        assert len(waiting.result(timeout=30).single_ms) == 5


@pytest.mark.parametrize(
    ("source", "options", "reason", "message"),
    [
        (f"{SIGNATURE} {{ y[0] = undefined_name; }}", "", "build_failure", "undefined_name"),
        (f"{SIGNATURE} {{ y[0] = 1; }}", "-no-such-option", "build_failure", "does not build"),
        (SIGNATURE.replace("void f", "void g") + " { }", "", "build_failure", "has no kernel f"),
        (f"__attribute__((reqd_work_group_size(2, 1, 1))) {SIGNATURE} {{ }}", "", "launch_failure", "declares 2"),
        (
            f"{SIGNATURE} {{ __local float t[1 << 22]; t[get_local_id(0)] = x[0]; barrier(1); y[0] = t[1]; }}",
            "",
            "launch_failure",
            "local memory",
        ),
    ],
)
def test_kernels_that_cannot_run_are_the_candidates_fault(device, write, elementwise, source, options, reason, message):
    with pytest.raises(CandidateError, match=message) as error:
        device.verify(write(elementwise(source, options=options)))
    assert error.value.reason == reason


def test_a_kernel_that_takes_other_arguments_is_a_bad_package(device, write, elementwise):
    fewer = "__kernel void f(__global const float *x, __global float *y) { y[0] = x[0]; }"
    with pytest.raises(PackageError, match="3 arguments, it takes 2"):
        device.verify(write(elementwise(fewer)))
    scalar = "__kernel void f(__global const float *x, __global float *y, char n) { y[0] = x[0] + n; }"
    with pytest.raises(PackageError, match="no buffer as argument 2"):
        device.verify(write(elementwise(scalar)))


def test_offsets_that_the_device_cannot_place_are_refused(device, write, elementwise):
    base = elementwise()
    moved = dataclasses.replace(base.buffers[0], offset=16, alignment=16)
    with pytest.raises(PackageError, match="this device needs multiples of"):
        device.verify(write(dataclasses.replace(base, buffers=(moved, *base.buffers[1:]))))


def test_rows_are_run_one_after_another(device, write, elementwise):
    rows = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
    found = device.run(write(elementwise()), rows, 4)
    np.testing.assert_allclose(found, 2 * rows + np.array([1, 2, 3, 4]), rtol=1e-6)
    with pytest.raises(DeviceError, match="in the middle of an input"):
        device.run(write(elementwise()), rows[:, :3], 4)


def test_a_named_library_is_the_only_one_of_its_backend(monkeypatch):
    monkeypatch.setenv("ACT_OPENCL_LIBRARY", "/missing/libOpenCL.so")
    monkeypatch.setenv("ACT_VULKAN_LIBRARY", "/missing/libvulkan.so")
    assert find_libraries() == [
        DriverLibrary(backend="opencl", description="/missing/libOpenCL.so"),
        DriverLibrary(backend="vulkan", description="/missing/libvulkan.so"),
    ]
    reports = probe_libraries()
    assert all(report.problem for report in reports if not report.devices)
