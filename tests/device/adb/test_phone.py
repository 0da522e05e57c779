import dataclasses

import pytest
from act.device.adb.failures import MeasurementError, UnusablePhoneError
from act.device.adb.phone import PhoneState, check_state, describe_phone, read_properties, read_state
from act.device.devices import DeviceError
from act.device.runner import device_fields

from .table_of_times import DEVICE


def test_a_phone_says_what_it_is(client):
    found = read_properties(client)
    assert (found.model, found.soc, found.android) == ("SM-G973U", "SM8150", "12")
    assert found.abis == ("arm64-v8a", "armeabi-v7a", "armeabi")
    assert found.gpu == "Adreno (TM) 640"
    assert found.gpu_driver.startswith("OpenGL ES 3.2 V@0502.0")
    assert found.build.startswith("samsung/beyond1qsqw/") and found.boot_id.startswith("boot-")


def test_what_is_not_told_is_unknown_and_no_problem(client, phone):
    phone.set_properties(ro__soc__model="", ro__product__cpu__abilist="")
    for name in ("dumpsys-thermalservice", "dumpsys-battery", "dumpsys-power", "settings-low_power"):
        (phone.root / "answers" / name).unlink()
    (phone.root / "answers" / "dumpsys-SurfaceFlinger").write_text("")
    for name in ("gpuclk", "max_gpuclk", "gpu_available_frequencies", "gpu_busy_percentage", "temp"):
        phone.locate(f"/sys/class/kgsl/kgsl-3d0/{name}").unlink()
    found = read_properties(client)
    assert (found.soc, found.abis, found.gpu) == ("msmnile", ("arm64-v8a",), "")
    assert read_state(client) == PhoneState()
    assert PhoneState().problems() == ()


def test_a_phone_says_how_it_is_doing(client, phone):
    phone.set_state(status=1, skin=38.5, battery=31.4, level=77, awake=False, gpu_busy=12, gpu_mhz=427)
    assert read_state(client) == PhoneState(
        thermal_status=1,
        thermal_override=False,
        skin_c=38.5,  # the current one, not the one that the service keeps
        battery_c=31.4,
        battery_percent=77,
        charging=True,
        screen_on=False,
        power_save=False,
        gpu_clock_mhz=585,
        gpu_max_clock_mhz=427,
        gpu_top_clock_mhz=585,
        gpu_busy_percent=12,
        gpu_c=31,
    )


def test_what_someone_must_change_comes_before_what_passes():
    state = PhoneState(thermal_status=3, power_save=True)
    with pytest.raises(UnusablePhoneError, match=r"battery saver is on: turn it off; it is throttled"):
        check_state("R58M", state)
    with pytest.raises(MeasurementError, match=r"phone R58M: it is throttled \(thermal status 3 of 6\)$"):
        check_state("R58M", PhoneState(thermal_status=3))
    check_state("R58M", PhoneState(thermal_status=0, battery_c=39.9, screen_on=False))


def test_the_target_is_that_of_the_gpu(client):
    properties = read_properties(client)
    values = device_fields({**DEVICE, "name": "QUALCOMM Adreno(TM)", "version": "OpenCL 2.0 Adreno(TM) 640"})
    info = describe_phone("adb:R58M", properties, ("opencl", "vulkan"), values)
    assert (info.target, info.backend, info.backends) == ("adreno640", "opencl", ("opencl", "vulkan"))
    hidden = dataclasses.replace(properties, gpu="")
    assert describe_phone("adb:R58M", hidden, ("vulkan",), values).target == "adreno640-vulkan"
    mali = describe_phone(
        "adb:R58M",
        dataclasses.replace(properties, gpu="Mali-G76"),
        ("opencl",),
        {**values, "name": "Mali-G76", "version": "OpenCL 2.0 v1.r26p0"},
    )
    with pytest.raises(DeviceError, match="has the GPU 'Mali-G76', for which there is no target: choose one"):
        _ = mali.target
