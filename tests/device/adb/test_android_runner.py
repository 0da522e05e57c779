"""The Android runner on an emulated phone: built without the NDK, sent by adb, checked and started there by qemu."""

import json

import pytest
from act.device.adb.device import AdbDevice
from act.device.adb.phone import read_properties
from act.device.adb.runner import PhoneRunner
from act.device.errors import NoDeviceError
from act.device.package_format import PackageError
from act.device.runtime.android import build_android, find_android_tool
from act.toolchain.cli import main

from ..android_emulator import android_emulator

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    return android_emulator("aarch64", tmp_path_factory.mktemp("android"))


@pytest.fixture(scope="module")
def arm_runner():
    """Made before a test has a cache of its own."""
    if find_android_tool() is None:
        pytest.skip("nothing here builds for Android: pip install 'act-compress[android]'")
    return build_android("arm64-v8a").runner


@pytest.fixture
def arm_phone(make_phone, emulator, arm_runner, monkeypatch):
    monkeypatch.setenv("ACT_PHONE_RUNNER", str(arm_runner))
    return make_phone(table=None, emulator=emulator)


def test_the_arm64_runner_is_sent_started_and_finds_no_gpu(arm_phone, arm_runner, client_of):
    client = client_of(arm_phone)
    device = AdbDevice(client, device_id=f"adb:{arm_phone.serial}", properties=read_properties(client))
    with pytest.raises(NoDeviceError, match="neither OpenCL nor Vulkan: use another phone") as error:
        _ = device.info
    assert "no OpenCL library" in str(error.value) and "no Vulkan library" in str(error.value)
    (name,) = [name for name in arm_phone.files() if name.startswith("act/runner-")]
    sent = arm_phone.locate(f"/data/local/tmp/{name}")
    assert sent.read_bytes() == arm_runner.read_bytes()
    assert arm_phone.running() == [] and arm_phone.folders() == ["act"]


def test_the_checklist_passes_up_to_the_missing_gpu(arm_phone, capsys):
    assert main(["devices", "check", "--device", f"adb:{arm_phone.serial}", "--json"]) == 3
    (report,) = json.loads(capsys.readouterr().out)
    outcomes = {item["name"]: item["outcome"] for item in report["checks"]}
    assert [outcomes[name] for name in ("shell", "tools", "runner", "opencl", "vulkan")] == [
        *["pass"] * 3,
        *["fail"] * 2,
    ]
    (opencl,) = [item for item in report["checks"] if item["name"] == "opencl"]
    assert "/vendor/lib64/libOpenCL.so" in opencl["found"] or "no OpenCL library" in opencl["found"]


def test_it_checks_packages_there(arm_phone, arm_runner, client_of, package):
    client = client_of(arm_phone)
    runner = PhoneRunner(client, arm_runner, packages=[package], timeout_s=60)
    runner.prepare()
    runner.install()
    assert runner.call("check")["steps"] == 1
    damaged = package.with_name("damaged.actpkg")
    damaged.write_bytes(package.read_bytes()[:-1])
    runner = PhoneRunner(client, arm_runner, packages=[damaged], timeout_s=60)
    runner.prepare()
    runner.install()
    with pytest.raises(PackageError, match="cut short"):
        runner.call("check")
