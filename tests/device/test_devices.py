import pytest
from act.device.devices import DeviceError, TimingOptions, open_device


def test_phones_need_adb(monkeypatch):
    monkeypatch.setenv("ACT_ADB", "/missing/adb")
    with pytest.raises(DeviceError, match=r"/missing/adb .*install Android's platform tools .*apt-get install adb"):
        open_device("adb:R58M")


@pytest.mark.opencl
def test_unknown_ids_get_the_nearest_and_the_known(device):
    with pytest.raises(DeviceError, match=r"unknown device 'opencl:77'.*known devices: opencl:0"):
        open_device("opencl:77")
    with pytest.raises(DeviceError, match=r"unknown device 'opencl0': did you mean 'opencl:0'\?"):
        open_device("opencl0")


@pytest.mark.parametrize("change", [{"runs": 0}, {"warmup": -1}, {"burst_runs": 0}, {"max_seconds": float("nan")}])
def test_timing_options_are_checked(change):
    with pytest.raises(ValueError, match="must be"):
        TimingOptions(**change)
