"""Targets by name, and what they hand to TVM."""

import subprocess
import sys

import pytest
from act.compiler.errors import CompileError, UnsupportedOpError
from act.compiler.targets import TargetError, get_target, list_targets
from act.device.specs import ADRENO_SPECS


def test_every_adreno_and_the_host_are_targets():
    opencl, vulkan = [*ADRENO_SPECS, "host-opencl"], [*(f"{name}-vulkan" for name in ADRENO_SPECS), "host-vulkan"]
    assert list_targets() == [*opencl, *vulkan]
    for name in list_targets():
        target = get_target(name)
        assert (target.name, target.backend) == (name, "vulkan" if name in vulkan else "opencl")
        assert min(target.machine.peak_gflops, target.machine.l2_gbps, target.machine.dram_gbps) > 0


def test_unknown_target_names_the_nearest_and_the_known():
    with pytest.raises(TargetError, match="unknown target 'adreno64': did you mean 'adreno640'") as caught:
        get_target("adreno64")
    assert "host-opencl" in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_unknown_target_without_a_near_name_lists_the_known():
    with pytest.raises(TargetError, match="unknown target 'x'; known targets: adreno530"):
        get_target("x")


def test_the_measured_gpu_keeps_its_measured_rates():
    spec, machine = ADRENO_SPECS["adreno640"], get_target("adreno640").machine
    assert (machine.peak_gflops, machine.l2_gbps, machine.dram_gbps) == (
        spec.peak_gflops,
        spec.l2_gbps,
        spec.dram_gbps,
    )


def test_tvm_target_overrides_the_wrong_defaults():
    attributes = get_target("adreno640").tvm_target().attrs
    assert int(attributes["max_shared_memory_per_block"]) == 32 * 1024
    assert int(attributes["max_num_threads"]) == 1024
    assert str(attributes["device"]) == "adreno"


def test_host_target_is_no_adreno():
    target = get_target("host-opencl").tvm_target()
    assert str(target.kind) == "opencl"
    assert "adreno" not in str(target)


def test_errors_are_what_callers_catch():
    assert issubclass(UnsupportedOpError, CompileError)
    assert issubclass(CompileError, RuntimeError)


def test_targets_and_latency_model_import_neither_torch_nor_tvm():
    code = (
        "import sys, act.compiler.targets, act.compiler.latency_model, act.compiler.layer_shape;"
        "print([m for m in ('torch', 'tvm', 'onnx') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
