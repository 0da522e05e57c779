import time

import pytest
from act.device.adb.failures import TransientError, UnusablePhoneError
from act.device.adb.phones import list_phones, open_phone, open_phones
from act.device.adb.program import AdbServer
from act.device.devices import DeviceError, NoDeviceError, open_device


@pytest.fixture(autouse=True)
def _runner(private_adb, table_runner):
    """Every test has adb and a runner."""


def until(condition):
    """Wait until it holds; adb notices some things after a while."""
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_phone_is_opened_by_its_serial(phone):
    device = open_device(f"adb:{phone.serial}")
    assert device.id == f"adb:{phone.serial}"
    assert device.info.name == "SM-G973U (QUALCOMM Adreno(TM) 640)"
    assert device.info.backends == ("opencl",)


def test_all_is_every_usable_phone(make_phone):
    first, second, locked = make_phone(), make_phone(), make_phone(connect=False)
    assert {device.id for device in open_phones("adb:all")} == {f"adb:{first.serial}", f"adb:{second.serial}"}
    with pytest.raises(DeviceError, match=r"'adb:all' names 2 phones, choose one: adb:.*, adb:"):
        open_phone("adb:all")
    assert locked.commands == []


def test_all_may_be_one(phone):
    assert open_phone("adb:all").id == f"adb:{phone.serial}"


def test_no_phone_names_the_next_step():
    with pytest.raises(DeviceError, match=r"no phone is attached: enable USB debugging .* or 'adb connect"):
        open_phone("adb:all")


@pytest.mark.parametrize("device_id", ["adb", "adb:", "adb:@lab:5037"])
def test_a_phone_must_be_named(device_id):
    with pytest.raises(DeviceError, match=r"names no phone: adb:SERIAL or adb:all"):
        open_device(device_id)


def test_an_unknown_serial_gets_the_nearest_and_the_attached(phone):
    with pytest.raises(DeviceError, match=rf"did you mean '{phone.serial}'\? attached phones: {phone.serial}"):
        open_phone(f"adb:{phone.serial[:-1]}")


def test_unauthorized_says_to_accept_the_key(make_phone, run_adb):
    phone = make_phone(connect=False)
    phone.authorised = False
    run_adb("connect", phone.address)
    with pytest.raises(UnusablePhoneError, match=r"unlock it and accept the key .*\(unauthorized\)"):
        open_phone(f"adb:{phone.serial}")
    with pytest.raises(DeviceError, match=r"no attached phone can be used:\nphone .* unlock it"):
        open_phones("adb:all")
    (listed,) = list_phones()
    assert (listed.state, listed.usable, listed.properties) == ("unauthorized", False, None)
    assert "accept the key" in listed.problems[0]


def test_offline_says_to_plug_it_in_again(phone, attached):
    phone.reachable = False
    phone.disconnect()
    until(lambda: attached().get(phone.serial) == "offline")
    with pytest.raises(TransientError, match="adb reports it as offline: wait a moment, then plug it in again"):
        open_phone(f"adb:{phone.serial}")
    (listed,) = list_phones()
    assert (listed.state, listed.usable) == ("offline", False)


def test_a_listed_phone_tells_why_it_cannot_be_timed(phone):
    (ready,) = list_phones()
    assert ready.usable and ready.row()[1:] == ("SM-G973U", "SM8150", "Adreno (TM) 640", "12", "ready")
    phone.set_state(status=2, battery=44)
    (hot,) = list_phones()
    assert hot.problems == (
        "it is throttled (thermal status 2 of 6)",
        "it is hot (battery 44 °C, allowed are 40 °C)",
    )
    assert hot.to_dict()["condition"]["battery_c"] == 44.0


def test_another_server_is_part_of_the_id(phone, private_adb, adb_environment, monkeypatch):
    port = int(adb_environment["ADB_SERVER_SOCKET"].rpartition(":")[2])
    monkeypatch.setenv("ADB_SERVER_SOCKET", "tcp:localhost:9")
    server = AdbServer(host="127.0.0.1", port=port)
    assert [listed.id for listed in list_phones(server)] == [f"adb:{phone.serial}@127.0.0.1:{port}"]
    device = open_device(f"adb:{phone.serial}@127.0.0.1:{port}")
    assert device.state()["problems"] == []


def test_a_phone_for_which_there_is_no_runner(phone, monkeypatch):
    monkeypatch.delenv("ACT_PHONE_RUNNER")
    phone.set_properties(ro__product__cpu__abilist="armeabi-v7a,armeabi")
    with pytest.raises(
        UnusablePhoneError, match="for armeabi-v7a, armeabi, the runner is made for arm64-v8a and x86_64"
    ):
        _ = open_phone(f"adb:{phone.serial}").info


def test_a_phone_without_opencl_and_vulkan(phone):
    phone.backends = ()
    with pytest.raises(NoDeviceError, match="offers programs neither OpenCL nor Vulkan: use another phone\nno opencl"):
        _ = open_phone(f"adb:{phone.serial}").info


def test_a_phone_with_vulkan_alone_gets_vulkan_packages(phone):
    phone.backends = ("vulkan",)
    info = open_phone(f"adb:{phone.serial}").info
    assert (info.backends, info.target) == (("vulkan",), "adreno640-vulkan")


def test_libraries_that_need_a_search_path_are_found(phone):
    phone.needs_search_path = True
    device = open_phone(f"adb:{phone.serial}")
    assert device.info.backends == ("opencl",)
    assert "LD_LIBRARY_PATH=/vendor/lib64:/system/vendor/lib64" in phone.commands[-2]
