"""The commands that meet phones, run in process against an emulated one."""

import json

import pytest
from act.toolchain.cli import main

from . import table_of_times


@pytest.fixture(autouse=True)
def _places(private_adb, table_runner, tmp_path, monkeypatch):
    monkeypatch.setenv("ACT_DATABASE", str(tmp_path / "latency.sqlite"))
    # Local devices are others' business.
    monkeypatch.setenv("ACT_OPENCL_LIBRARY", "/missing/libOpenCL.so")
    monkeypatch.setenv("VK_DRIVER_FILES", "/missing.json")
    monkeypatch.setenv("VK_ICD_FILENAMES", "/missing.json")


def test_bench_measures_on_a_phone(phone, package, capsys):
    assert main(["bench", str(package), "--device", f"adb:{phone.serial}", "--runs", "7", "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)
    assert stats["device_name"] == "SM-G973U (QUALCOMM Adreno(TM) 640)"
    assert (stats["p50"], len(stats["samples_ms"]), stats["per_kernel_us"]) == (0.001, 7, [1.0])
    assert stats["state"]["before"]["battery_percent"] == 90


def test_bench_tells_what_speaks_against_its_figures(phone, package, capsys, monkeypatch):
    command = ["bench", str(package), "--device", f"adb:{phone.serial}", "--preset", "quick"]
    for _ in range(5):
        assert main([*command, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["flags"] == {}
    monkeypatch.setattr(table_of_times, "REFERENCE_MS", 0.2)  # the phone has become slow
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "! throttled  the device is 100 % slower than usual: the reference usually takes 0.1 ms;" in printed
    assert "let it cool down, and measure again" in printed
    assert main([*command, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["flags"]) == ["throttled"]


def test_bench_with_mlperf_reports_the_90th_percentile(phone, package, capsys):
    command = ["bench", str(package), "--device", f"adb:{phone.serial}", "--preset", "mlperf", "--json"]
    phone.table = 60_000.0  # 1,024 of them take a minute
    assert main(command) == 0
    stats = json.loads(capsys.readouterr().out)
    assert (stats["headline"], stats["headline_ms"], len(stats["samples_ms"])) == ("p90", stats["p90"], 1024)
    assert stats["flags"] == {}
    (asked,) = [line for line in phone.commands if " time " in line]
    assert "--runs 1024" in asked and "--min-seconds 60.0" in asked


def test_a_failed_bench_ends_with_3_and_records_nothing(phone, package, capsys, tmp_path):
    phone.set_state(low_power=True)
    assert main(["bench", str(package), "--device", f"adb:{phone.serial}"]) == 3
    printed = capsys.readouterr()
    assert printed.out == "" and "its battery saver is on: turn it off" in printed.err
    assert not (tmp_path / "latency.sqlite").exists()


def test_devices_lists_phones_beside_local_ones(phone, make_phone, capsys, run_adb):
    locked = make_phone(connect=False)
    locked.authorised = False
    run_adb("connect", locked.address)
    assert main(["devices", "list", "--json"]) == 0
    entries = {entry["id"]: entry for entry in json.loads(capsys.readouterr().out)}
    ready, refused = entries[f"adb:{phone.serial}"], entries[f"adb:{locked.serial}"]
    assert (ready["model"], ready["soc"], ready["gpu"], ready["android"]) == (
        "SM-G973U",
        "SM8150",
        "Adreno (TM) 640",
        "12",
    )
    assert ready["usable"] and ready["state"] == "device"
    assert refused["state"] == "unauthorized" and "accept the key" in refused["problems"][0]


def test_devices_shows_the_phones_of_a_server_in_a_table(phone, capsys, adb_environment):
    port = adb_environment["ADB_SERVER_SOCKET"].rpartition(":")[2]
    assert main(["devices", "--adb-server", f"localhost:{port}"]) == 0
    table = capsys.readouterr().out
    assert f"@localhost:{port}" in table
    assert f"adb:{phone.serial}" in table and "Adreno (TM) 640" in table and "ready" in table


def test_devices_without_adb_says_so(monkeypatch, capsys):
    monkeypatch.setenv("ACT_ADB", "/missing/adb")
    assert main(["devices", "list", "--json"]) == 0
    printed = capsys.readouterr()
    assert "phones are not listed" in printed.err and "apt-get install adb" in printed.err
    assert all(not entry["id"].startswith("adb:") for entry in json.loads(printed.out))


def test_a_server_that_cannot_be_read_is_refused(capsys):
    assert main(["devices", "--adb-server", "foo"]) == 2
    assert "--adb-server" in capsys.readouterr().err
