"""Hand-written packages on a real Vulkan device, and damaged SPIR-V on none."""

import dataclasses
import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from act.device.devices import CandidateError, TimingOptions, open_device
from act.device.errors import RunnerBuildError
from act.device.local import list_local_devices
from act.device.package_format import Kernel, PackageError
from act.device.runner import call_runner
from act.device.runtime.build import SANITIZERS, build_runner

pytestmark = pytest.mark.vulkan

QUICK = TimingOptions(runs=5, warmup=1, warmup_ms=0, bursts=2, burst_runs=3, profile_runs=4, max_seconds=5)
HEADER = "#version 450\nlayout(local_size_x = 4) in;\n"
BUFFERS = """layout(std430, set = 0, binding = 0) readonly buffer X { float x[]; };
layout(std430, set = 0, binding = 1) readonly buffer W { float w[]; };
layout(std430, set = 0, binding = 2) buffer Y { float y[]; };
"""


def test_devices_are_named_and_have_a_stable_fingerprint(vulkan_device):
    first, again = (list_local_devices("vulkan")[0] for _ in range(2))
    assert first == again
    assert first.id == "vulkan:0"
    assert first.backend == "vulkan"
    assert first.max_work_group_size >= 128
    assert open_device("vulkan:0").info.to_dict()["platform"] == "Vulkan"


def test_weights_larger_than_the_staging_buffer_arrive_whole(vulkan_device, write, vulkan_elementwise):
    count = 5 << 20  # 20 MiB
    text = HEADER + BUFFERS + f"void main() {{ uint i = gl_GlobalInvocationID.x; y[i] = x[i] + w[{count - 4} + i]; }}\n"
    base = vulkan_elementwise(text)
    values = np.zeros(count, np.float32)
    values[-4:] = [1, 2, 3, 4]
    weight = dataclasses.replace(base.buffers[1], shape=(count,), size_bytes=values.nbytes)
    package = dataclasses.replace(
        base,
        buffers=(base.buffers[0], weight, base.buffers[2]),
        weights=values.tobytes(),
        verification_output=base.verification_input + np.array([1, 2, 3, 4], np.float32),
    )
    assert vulkan_device.verify(write(package)) == 0


def test_buffers_beyond_the_devices_range_are_refused_on_the_host(vulkan_device, write, vulkan_elementwise):
    base = vulkan_elementwise()
    large = dataclasses.replace(base.buffers[1], role="activation", shape=(1 << 31,), size_bytes=1 << 33, offset=2048)
    package = dataclasses.replace(
        base, arena_bytes=2048 + (1 << 33), buffers=(base.buffers[0], large, base.buffers[2]), weights=b""
    )
    with pytest.raises(CandidateError, match="kernels on this device see at most") as error:
        vulkan_device.verify(write(package))
    assert error.value.reason == "out_of_memory"


def test_work_groups_beyond_the_devices_limits_are_refused(vulkan_device, write, vulkan_elementwise):
    header = HEADER.replace("x = 4", "x = 1024, local_size_y = 2")
    package = vulkan_elementwise(header + BUFFERS + "void main() { y[0] = x[0] + w[0]; }\n")
    step = dataclasses.replace(package.steps[0], global_size=(1024, 2, 1), local_size=(1024, 2, 1))
    if vulkan_device.info.max_work_group_size >= 2048:
        pytest.skip("this device allows 2048 work-items in a work-group")
    with pytest.raises(CandidateError, match="the device allows") as error:
        vulkan_device.verify(write(dataclasses.replace(package, steps=(step,))))
    assert error.value.reason == "launch_failure"


def check(runner, path):
    return call_runner(runner, ["check", str(path)], environment={}, timeout_s=10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER.replace("= 4", "= 2") + BUFFERS + "void main() { y[0] = x[0] + w[0]; }", "its program declares 2"),
        (HEADER + BUFFERS.replace("binding = 2", "binding = 3") + "void main() { y[0] = x[0] + w[0]; }", "a gap"),
        (HEADER + BUFFERS.replace("0, binding = 2", "1, binding = 2") + "void main() { y[0] = x[0] + w[0]; }",
         "another descriptor set"),
        (HEADER + "layout(binding = 0) buffer X { float x[]; };\nvoid main() { x[0] = 1.0; }", "its program takes 1"),
        (HEADER + BUFFERS + "void main() { double a = x[0]; y[0] = float(a * a) + w[0]; }", "needs a capability"),
    ],
)  # fmt: skip
def test_programs_that_are_launched_otherwise_than_they_say_are_refused(
    runner, write, vulkan_elementwise, text, message
):
    with pytest.raises(PackageError, match=message):
        check(runner, write(vulkan_elementwise(text)))


def words_of(package):
    return list(struct.unpack(f"<{len(package.kernels[0].source) // 4}I", package.kernels[0].source))


def with_words(package, words):
    source = struct.pack(f"<{len(words)}I", *words)
    return dataclasses.replace(package, kernels=(Kernel(name="f", source=source),))


def test_spirv_that_is_cut_short_is_refused(runner, write, vulkan_elementwise):
    package = vulkan_elementwise()
    words = words_of(package)
    assert check(runner, write(package))["backend"] == "vulkan"
    for length in (1, 4, 5, 6, 20):
        with pytest.raises(PackageError, match="kernel 0"):
            check(runner, write(with_words(package, words[:length])))
    with pytest.raises(PackageError, match="beyond its end"):
        check(runner, write(with_words(package, [*words, 5 << 16 | 1])))
    with pytest.raises(PackageError, match="beyond its end"):
        check(runner, write(with_words(package, [*words, 0])))


def test_the_session_is_free_of_memory_errors(vulkan_device, write, vulkan_elementwise):
    """Every path of the runtime under the address sanitizer; leaks inside the driver do not count."""
    try:
        runner = build_runner(extra_flags=SANITIZERS)
    except RunnerBuildError as error:
        pytest.skip(f"no sanitizers here: {error}")
    environment = {**os.environ, **vulkan_device.info.library.environment, "ASAN_OPTIONS": "detect_leaks=0"}
    arguments = ["time", str(write(vulkan_elementwise())), "--runs", "3", "--warmup-ms", "0", "--max-seconds", "1"]
    assert call_runner(runner, arguments, environment=environment, timeout_s=60)["verified_error"] < 1e-5


def validation_layer():
    """The manifest of Khronos' validation layer; skips where it is not installed."""
    folders = [Path("/usr/share/vulkan/explicit_layer.d"), Path("/etc/vulkan/explicit_layer.d")]
    if not any(path for folder in folders for path in folder.glob("*khronos_validation*")):
        pytest.skip("no validation layer: apt-get install vulkan-validationlayers")


def test_the_validation_layer_has_nothing_to_say(vulkan_device, runner, write, vulkan_elementwise):
    """Core and synchronization validation of every call that loading, running and timing a package makes."""
    validation_layer()
    environment = {
        **os.environ,
        "VK_INSTANCE_LAYERS": "VK_LAYER_KHRONOS_validation",
        "VK_LAYER_ENABLES": "VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT",
    }
    command = [str(runner), "time", str(write(vulkan_elementwise())), "--runs", "3", "--warmup-ms", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "alidation" not in done.stdout + done.stderr
