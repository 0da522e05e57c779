"""Tuning within a budget, what later compiles take, and for whom."""

from dataclasses import replace

import pytest
from act.compiler.compile import compile_onnx
from act.compiler.kernel_choice import decide
from act.compiler.targets import TargetError, get_target
from act.compiler.tuning.tasks import layer_text, parse_layer, tasks_of
from act.compiler.tuning.tuner import Budget, check_tuning_target, tune_layers, tuned_kernels
from act.device.package_format import PackageError, read_package, write_package
from act.device.tuning_records import TuningRecords

from ..kernel_check import local_device
from ..onnx_networks import conv_model, save
from .layers import CONV, DEPTHWISE, LINEAR, TableDevice, task

HOST = get_target("host-opencl")


@pytest.fixture
def records(tmp_path):
    with TuningRecords(tmp_path / "r.sqlite") as opened:
        yield opened


def test_a_layer_is_its_sizes_and_not_its_name():
    assert layer_text(replace(CONV, name="a"), 2) == layer_text(replace(CONV, name="b"), 2)
    assert layer_text(CONV, 1) != layer_text(CONV, 2)
    assert parse_layer(layer_text(replace(CONV, name="a"), 2)) == (CONV, 2)
    assert parse_layer(layer_text(CONV, 1).replace('"templates": 1', '"templates": 0')) is None
    assert parse_layer("nonsense") is None


def test_equal_layers_of_a_package_are_one_task(tmp_path):
    path = save(conv_model(), tmp_path / "m.onnx")
    package = read_package(compile_onnx(path, HOST, output=tmp_path / "m.actpkg").path)
    (found,) = tasks_of(package)
    assert (found.names, found.batch, found.shape.c_out, found.shape.name) == (("conv",), 1, 4, "")
    old = replace(package, metadata={})
    with pytest.raises(PackageError, match="compile its ONNX file again"):
        tasks_of(old)


def test_the_layer_with_most_to_save_gets_most(records):
    layers = [replace(task(CONV), names=("a",) * 9), task(DEPTHWISE)]
    groups = []
    tuned = tune_layers(
        layers, HOST, TableDevice(slope=0.0), records, Budget(trials=4), on_step=lambda s, n: groups.append((s, n))
    )
    assert [layer.tried for layer in tuned] == [4, 4]
    assert sum(count for _, count in groups) == 8
    assert not any(layer.is_tuned for layer in tuned)
    again = tune_layers(layers, HOST, TableDevice(slope=0.0), records, Budget(trials=4), on_step=pytest.fail)
    assert [(a.best_us, a.tried) for a in again] == [(b.best_us, b.tried) for b in tuned]


def test_seconds_end_a_search_that_has_more_to_try(records):
    (found,) = tune_layers([task(LINEAR)], HOST, TableDevice(), records, Budget(seconds=0.01))
    assert found.tried <= 6


@pytest.mark.parametrize("budget", [{}, {"seconds": 1.0, "trials": 1}])
def test_a_budget_is_of_one_kind(budget):
    with pytest.raises(ValueError, match="seconds or of trials"):
        Budget(**budget)


def test_what_was_tuned_decides_and_says_why(records):
    tune_layers([task(LINEAR)], HOST, TableDevice(best=1), records, Budget(trials=12))
    found = tuned_kernels(records, HOST)
    by_rule, tuned = (decide(replace(LINEAR, name="fc"), 1, HOST, *more) for more in ((), (found,)))
    assert by_rule.reason == "by the rule"
    assert tuned.kernel.tile.work_items == 1 != by_rule.kernel.tile.work_items
    assert "tuned on opencl:0: " in tuned.reason and tuned.reason.endswith(" us by the rule")
    assert decide(LINEAR, 2, HOST, found) == decide(LINEAR, 2, HOST)  # another batch is another layer


def test_a_device_without_a_faster_kernel_confirms_the_rule(records):
    tune_layers([task(LINEAR)], HOST, TableDevice(slope=0.0), records, Budget(trials=6))
    decision = decide(LINEAR, 1, HOST, tuned_kernels(records, HOST))
    assert decision.kernel == decide(LINEAR, 1, HOST).kernel
    assert decision.reason == "by the rule; of 6 others on opencl:0 none was faster"


def test_tiles_belong_to_a_target_and_of_a_local_one_to_a_device(records):
    phone = TableDevice(best=1, device_id="adb:R58", target="adreno640")
    adreno = get_target("adreno640")
    tune_layers([task(LINEAR)], adreno, phone, records, Budget(trials=6))
    tune_layers([task(LINEAR)], HOST, TableDevice(best=1), records, Budget(trials=6))
    assert "tuned on adb:R58" in decide(LINEAR, 1, adreno, tuned_kernels(records, adreno)).reason
    other_phone = tuned_kernels(records, adreno, fingerprint="of another phone")
    assert "tuned on adb:R58" in decide(LINEAR, 1, adreno, other_phone).reason
    for target in ("adreno650", "adreno640-vulkan", "host-vulkan"):
        assert not tuned_kernels(records, get_target(target)).kernels
    assert not tuned_kernels(records, get_target("adreno640", precision="fp16")).kernels
    assert tuned_kernels(records, HOST).kernels
    assert tuned_kernels(records, HOST, fingerprint=TableDevice().info.fingerprint).kernels
    assert not tuned_kernels(records, HOST, fingerprint="of another local device").kernels


@pytest.mark.parametrize(
    ("device_id", "own", "target"),
    [
        ("opencl:0", "host-opencl", "adreno640"),
        ("opencl:0", "host-opencl", "host-vulkan"),
        ("adb:R58", "adreno640", "host-opencl"),
        ("adb:R58", "adreno640", "adreno650"),
        ("adb:R58", "adreno640", "adreno640-vulkan"),  # this phone has no Vulkan
    ],
)
def test_a_device_tunes_for_its_own_target_alone(device_id, own, target):
    info = TableDevice(device_id=device_id, target=own).info
    check_tuning_target(get_target(own), info)
    with pytest.raises(TargetError, match=f"is not for {target}: tiles belong to a target"):
        check_tuning_target(get_target(target), info)


@pytest.mark.opencl
def test_a_network_compiled_with_tuned_kernels_is_right(records, tmp_path):
    """A row that is no multiple of the vector, and a kernel of another form than the rule's."""
    device = local_device()
    path = save(conv_model(), tmp_path / "m.onnx")
    before = compile_onnx(path, HOST, output=tmp_path / "before.actpkg")
    tasks = tasks_of(read_package(before.path))
    table = TableDevice(best=16)
    tune_layers(tasks, HOST, table, records, Budget(trials=12))
    tuned = tuned_kernels(records, HOST)
    after = compile_onnx(path, HOST, output=tmp_path / "after.actpkg", tuned=tuned)
    (step,) = (step for step in after.steps if step.tile)
    assert step.tile_reason.startswith("tuned on opencl:0")
    assert step.tile != next(old.tile for old in before.steps if old.tile)
    assert device.verify(after.path) < 1e-5
    write_package(tmp_path / "copy.actpkg", read_package(after.path))
