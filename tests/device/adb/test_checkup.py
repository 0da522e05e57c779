"""``act devices check`` on an emulated phone: the checklist of a new phone."""

import dataclasses
import json

import pytest
from act.device.harness import measure
from act.device.local import find_libraries
from act.toolchain.cli import main
from act.toolchain.device_check import steadiness, timers

NO_VULKAN = {"VK_DRIVER_FILES": "/missing.json", "VK_ICD_FILENAMES": "/missing.json"}


@pytest.fixture
def check(private_adb, capsys):
    """Run the command on phones; return its code and each item by name."""

    def run(device_id, *arguments):
        code = main(["devices", "check", "--device", device_id, "--json", *arguments])
        (report,) = json.loads(capsys.readouterr().out)
        return code, {item["name"]: item for item in report["checks"]}

    return run


@pytest.mark.opencl
def test_a_good_phone_passes(make_phone, check, monkeypatch, runner):
    library = next(library for library in find_libraries() if library.backend == "opencl")
    phone = make_phone(table=None, environment={**library.environment, **NO_VULKAN})
    monkeypatch.setenv("ACT_PHONE_RUNNER", str(runner))
    code, items = check(f"adb:{phone.serial}")
    assert code == 0, [item for item in items.values() if item["outcome"] == "fail"]
    passed = {name for name, item in items.items() if item["outcome"] == "pass"}
    assert passed >= {"adb", "shell", "tools", "runner", "opencl", "thermal", "battery", "clocks", "screen", "ready"}
    assert passed >= {f"opencl {precision}{part}" for precision in ("fp32", "fp16") for part in ("", " inputs")}
    assert items["runner"]["found"].startswith("starts; ")
    assert items["vulkan"]["outcome"] == "skip" and "vulkan" in items["vulkan"]["found"].lower()


def test_what_fails_is_named_with_the_next_step(phone, check, table_runner):
    phone.set_state(low_power=True)
    phone.backends = ()
    code, items = check(f"adb:{phone.serial}")
    assert code == 3
    assert {name: item["outcome"] for name, item in items.items() if item["outcome"] != "pass"} == {
        "opencl": "fail",
        "vulkan": "fail",
        "ready": "fail",
        "packages": "skip",
    }
    assert items["opencl"]["next_step"] == "use another phone"
    assert "battery saver" in items["ready"]["found"]


def test_a_runner_that_does_not_start_ends_the_list(phone, check, table_runner):
    table_runner.write_bytes(b"\x7fELF\0\0")
    code, items = check(f"adb:{phone.serial}")
    assert code == 3
    assert list(items) == ["adb", "shell", "tools", "runner", "packages"]
    assert "cannot start the runner" in items["runner"]["found"]


def test_what_cannot_be_read_is_skipped(make_phone, check, table_runner):
    phone = make_phone(features="cmd")
    phone.answer("dumpsys-battery", "")
    for name in ("gpuclk", "max_gpuclk", "gpu_available_frequencies", "gpu_busy_percentage"):
        phone.locate(f"/sys/class/kgsl/kgsl-3d0/{name}").unlink()
    _, items = check(f"adb:{phone.serial}")
    assert "version 1" in items["shell"]["found"]
    assert items["clocks"]["outcome"] == items["battery"]["outcome"] == "skip"
    assert "not told: gpu_clock_mhz" in items["clocks"]["found"]


def test_a_gpu_without_a_target_says_how_to_choose_one(phone, check, table_runner, monkeypatch):
    from .table_of_times import DEVICE

    for name, value in (("name", "Mali-G76"), ("version", "OpenCL 2.0 v1.r26p0")):
        monkeypatch.setitem(DEVICE, name, value)
    phone.answer("dumpsys-SurfaceFlinger", "GLES: ARM, Mali-G76, OpenGL ES 3.2 v1.r26p0\n")
    code, items = check(f"adb:{phone.serial}")
    assert code == 3
    assert "'Mali-G76', for which there is no target" in items["opencl target"]["found"]
    assert "--target" in items["opencl target"]["next_step"]


def test_every_phone_of_all_is_checked(make_phone, table_runner, capsys):
    phones = [make_phone(), make_phone()]
    for phone in phones:
        phone.set_state(status=2)  # no package is timed then
    assert main(["devices", "check", "--device", "adb:all"]) == 3
    printed = capsys.readouterr().out
    assert all(f"adb:{phone.serial}" in printed for phone in phones)
    assert "it is throttled (thermal status 2 of 6)" in printed and "→ wait, and check again" in printed


@pytest.fixture
def stats(phone, open_phone_now, package):
    return measure(package, open_phone_now(phone), runs=12)


def test_timers_that_disagree_fail(stats):
    """The table's kernels take 1 µs and so does the whole."""
    assert timers("opencl fp32", stats).outcome == "pass"
    for times in ((5000.0,), (-1.0,), (0.0,)):
        item = timers("opencl fp32", dataclasses.replace(stats, per_kernel_us=times))
        assert item.outcome == "fail" and "do not use" in item.next_step
    assert timers("opencl fp32", dataclasses.replace(stats, per_kernel_us=())).outcome == "skip"
    disturbed = dataclasses.replace(stats, per_kernel_us=(5000.0,), flags={"noisy": "others were busy"})
    assert timers("opencl fp32", disturbed).outcome == "skip"


def test_flags_are_not_judged(stats):
    assert stats.flags == {} and steadiness("opencl fp32", stats).outcome == "pass"
    item = steadiness("opencl fp32", dataclasses.replace(stats, flags={"noisy": "others were busy"}))
    assert item.outcome == "skip" and "noisy: others were busy" in item.found
