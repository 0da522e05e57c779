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


TEXELS = """layout(set = 0, binding = 128) uniform samplerBuffer x;
layout(set = 0, binding = 1) uniform samplerBuffer w;
layout(set = 0, binding = 129) uniform isamplerBuffer bits;
layout(std430, set = 0, binding = 2) buffer Y { float y[]; };
void main() {
  int i = int(gl_GlobalInvocationID.x);
  float same = intBitsToFloat(texelFetch(bits, 0)[i]) - texelFetch(w, i).x;
  y[i] = 2.0 * texelFetch(x, 0)[i] + texelFetch(w, i).x + same;
}
"""


ADD = "void main() { uint i = gl_GlobalInvocationID.x; y[i] = 2.0 * x[i] + w[i]; }"
PROGRAMS = {"storage buffers": HEADER + BUFFERS + ADD, "texel buffers": HEADER + TEXELS}


def test_one_buffer_is_read_as_texels_of_one_value_and_of_four(vulkan_device, write, vulkan_elementwise):
    assert vulkan_device.verify(write(vulkan_elementwise(HEADER + TEXELS))) == 0


def test_texels_of_a_weight_behind_others_are_its_own(vulkan_device, write, vulkan_elementwise):
    """Weights lie side by side in memory, so a view begins where its weight does."""
    base = vulkan_elementwise(HEADER + TEXELS)
    other = dataclasses.replace(base.buffers[1], name="other")
    moved = dataclasses.replace(base.buffers[1], offset=16)
    package = dataclasses.replace(
        base,
        buffers=(base.buffers[0], other, base.buffers[2], moved),
        weights=np.full(4, 1e6, np.float32).tobytes() + base.weights,
        steps=(dataclasses.replace(base.steps[0], arguments=(0, 3, 2)),),
    )
    assert vulkan_device.verify(write(package)) == 0


def test_buffers_without_a_whole_texel_are_refused(vulkan_device, write, vulkan_elementwise):
    base = vulkan_elementwise(HEADER + TEXELS)
    small = dataclasses.replace(base.buffers[1], shape=(3,), size_bytes=12)
    package = dataclasses.replace(base, buffers=(base.buffers[0], small, base.buffers[2]), weights=base.weights[:12])
    with pytest.raises(PackageError, match="buffer 1 has 12 bytes, a kernel reads texels of 16"):
        vulkan_device.verify(write(package))


def test_more_texel_buffers_than_the_device_has_are_refused(vulkan_device, write, vulkan_elementwise):
    count = 126
    names = [f"x{number}" for number in range(count)]
    text = "".join(
        f"layout(set = 0, binding = {number + first}) uniform samplerBuffer {name}{first};\n"
        for number, name in enumerate(names)
        for first in (0, 128)
    )
    reads = " + ".join(f"texelFetch({name}0, 0).x + texelFetch({name}128, 0).x" for name in names)
    text += f"layout(std430, set = 0, binding = {count}) buffer Y {{ float y[]; }};\n"
    package = vulkan_elementwise(f"{HEADER}{text}void main() {{ y[0] = {reads}; }}\n")
    step = dataclasses.replace(package.steps[0], arguments=(0,) * (count - 1) + (1, 2))
    with pytest.raises(CandidateError, match="252 texel buffers, the device allows") as error:
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
        (HEADER + BUFFERS.replace("binding = 2", "binding = 130") + "void main() { y[0] = x[0] + w[0]; }",
         "neither a storage buffer nor a texel buffer"),
        (HEADER + TEXELS.replace("isamplerBuffer", "usamplerBuffer").replace("intBits", "uintBits"),
         "neither a storage buffer nor a texel buffer"),
        (HEADER + TEXELS.replace("samplerBuffer w", "sampler2D w").replace("(w, i)", "(w, ivec2(i), 0)"),
         "neither a storage buffer nor a texel buffer"),
        (HEADER + TEXELS.replace("binding = 129", "binding = 1"), "a binding has two types"),
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


@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS)
def test_the_session_is_free_of_memory_errors(vulkan_device, write, vulkan_elementwise, text):
    """Every path of the runtime under the address sanitizer; leaks inside the driver do not count."""
    try:
        runner = build_runner(extra_flags=SANITIZERS)
    except RunnerBuildError as error:
        pytest.skip(f"no sanitizers here: {error}")
    environment = {**os.environ, **vulkan_device.info.library.environment, "ASAN_OPTIONS": "detect_leaks=0"}
    arguments = ["time", str(write(vulkan_elementwise(text))), "--runs", "3", "--warmup-ms", "0", "--max-seconds", "1"]
    assert call_runner(runner, arguments, environment=environment, timeout_s=60)["verified_error"] < 1e-5


def validation_layer():
    """The manifest of Khronos' validation layer; skips where it is not installed."""
    folders = [Path("/usr/share/vulkan/explicit_layer.d"), Path("/etc/vulkan/explicit_layer.d")]
    if not any(path for folder in folders for path in folder.glob("*khronos_validation*")):
        pytest.skip("no validation layer: apt-get install vulkan-validationlayers")


@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS)
def test_the_validation_layer_has_nothing_to_say(vulkan_device, runner, write, vulkan_elementwise, text):
    """Core and synchronization validation of every call that loading, running and timing a package makes."""
    validation_layer()
    environment = {
        **os.environ,
        "VK_INSTANCE_LAYERS": "VK_LAYER_KHRONOS_validation",
        "VK_LAYER_ENABLES": "VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT",
    }
    command = [str(runner), "time", str(write(vulkan_elementwise(text))), "--runs", "3", "--warmup-ms", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "alidation" not in done.stdout + done.stderr
