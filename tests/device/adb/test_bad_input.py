"""What a user gets wrong about devices: each names the next step and ends with the right exit code."""

import pytest
from act.device.local import list_local_devices
from act.toolchain.cli import main

OLD_ADB = "#!/bin/sh\necho 'Android Debug Bridge version 1.0.31'\n"


@pytest.fixture(autouse=True)
def _places(private_adb, table_runner, tmp_path, monkeypatch):
    monkeypatch.setenv("ACT_DATABASE", str(tmp_path / "latency.sqlite"))


@pytest.fixture
def refused(package, capsys):
    """Run ``act bench`` on a device; return the message after checking the exit code."""

    def run(*arguments, code=3):
        assert main(["bench", str(package), *arguments]) == code
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err

    return run


def test_no_phone(refused):
    for device in ("adb:all", "adb:R58M12", "adb:", "adb"):
        said = refused("--device", device)
        assert "no phone is attached: enable USB debugging" in said and "adb connect" in said


def test_several_phones_and_none_named(make_phone, refused):
    first, second = make_phone(), make_phone()
    for device in ("adb:", "adb:all"):
        said = refused("--device", device)
        assert f"adb:{first.serial}" in said and f"adb:{second.serial}" in said


def test_an_unknown_serial(phone, refused):
    said = refused("--device", f"adb:{phone.serial}0")
    assert f"did you mean '{phone.serial}'?" in said and "act devices list" in said


def test_an_unknown_kind_of_device(refused):
    said = refused("--device", "cuda:0")
    assert "unknown device 'cuda:0'" in said and ("see 'act devices list'" in said or "see 'act doctor'" in said)


def test_a_phone_for_another_abi(phone, refused, monkeypatch):
    monkeypatch.delenv("ACT_PHONE_RUNNER")
    phone.set_properties(ro__product__cpu__abilist="armeabi-v7a")
    assert "the runner is made for arm64-v8a and x86_64: use another phone" in refused("--device", "adb:all")


def test_a_gpu_without_opencl_and_vulkan(phone, refused):
    phone.backends = ()
    assert "neither OpenCL nor Vulkan: use another phone" in refused("--device", "adb:all")


def test_a_package_for_another_backend_than_the_phone_has(phone, refused):
    phone.backends = ("vulkan",)
    said = refused("--device", "adb:all", code=2)
    assert "which takes vulkan: choose another device, or compile for adreno640-vulkan" in said


def test_adb_that_is_missing_or_too_old(refused, monkeypatch, tmp_path):
    monkeypatch.setenv("ACT_ADB", "/missing/adb")
    assert "/missing/adb is not there: install Android's platform tools" in refused("--device", "adb:all")
    old = tmp_path / "adb"
    old.write_text(OLD_ADB)
    old.chmod(0o755)
    monkeypatch.setenv("ACT_ADB", str(old))
    said = refused("--device", "adb:all")
    assert "has version 1.0.31, needed is 1.0.39 or newer: install" in said


def test_no_device_at_all(refused, monkeypatch):
    for name in ("ACT_OPENCL_LIBRARY", "VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, "/missing")
    if list_local_devices():
        pytest.skip("this machine has a device that no variable hides")
    said = refused()
    assert "see 'act doctor' for what to install, or name a phone with --device adb:SERIAL" in said
    assert main(["devices", "check"]) == 3


def test_flags_of_another_action(capsys):
    assert main(["devices", "list", "--device", "adb:all"]) == 2
    assert "--device belongs to 'act devices check'" in capsys.readouterr().err
    assert main(["bench", "x.actpkg", "--preset", "fast"]) == 2
    assert "known values: quick, standard, mlperf" in capsys.readouterr().err
