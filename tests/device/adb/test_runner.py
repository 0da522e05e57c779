import struct

import pytest
from act.device.adb.failures import UnusablePhoneError
from act.device.adb.phone import PhoneProperties
from act.device.adb.runner import runner_for
from act.device.runtime.android import find_android_tool


def properties(*abis):
    return PhoneProperties(
        serial="R58M",
        model="SM-G973U",
        soc="SM8150",
        android="12",
        abis=abis,
        build="samsung/beyond1q",
        gpu="Adreno (TM) 640",
        gpu_driver="OpenGL ES 3.2",
        boot_id="1",
    )


def test_a_named_runner_is_taken_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("ACT_PHONE_RUNNER", str(tmp_path / "act-runner"))
    assert runner_for(properties("mips")) == tmp_path / "act-runner"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("abis", "machine"), [(("arm64-v8a", "armeabi-v7a"), 183), (("x86", "x86_64", "arm64-v8a"), 62)]
)
def test_a_phone_gets_the_runner_of_its_first_abi_that_has_one(monkeypatch, abis, machine):
    if find_android_tool() is None:
        pytest.skip("nothing here builds for Android: pip install 'act-compress[android]'")
    monkeypatch.delenv("ACT_PHONE_RUNNER", raising=False)
    header = runner_for(properties(*abis)).read_bytes()[:20]
    assert struct.unpack_from("<H", header, 18) == (machine,)


@pytest.mark.parametrize(
    ("abis", "named"), [(("armeabi-v7a", "armeabi"), "armeabi-v7a, armeabi"), ((), "no known ABI")]
)
def test_other_phones_are_refused(monkeypatch, abis, named):
    monkeypatch.delenv("ACT_PHONE_RUNNER", raising=False)
    with pytest.raises(UnusablePhoneError, match=f"runs programs for {named}, the runner is made for arm64-v8a and"):
        runner_for(properties(*abis))
