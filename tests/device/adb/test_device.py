"""Packages on an emulated phone, through the real adb program: what works, and every fault."""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from act.device.adb.failures import MeasurementError, UnusablePhoneError, policy_of
from act.device.devices import CandidateError, DeviceError, TimingOptions
from act.device.harness import measure, run_inputs
from act.device.local import find_libraries

from .table_of_times import DEVICE

QUICK = TimingOptions(runs=5, warmup=1, warmup_ms=0, bursts=2, burst_runs=3, profile_runs=3, max_seconds=2)


@pytest.fixture
def device(phone, open_phone_now):
    return open_phone_now(phone)


@pytest.fixture
def is_clean():
    """Nothing runs, and nothing lies there but what a later run uses again."""

    def check(phone):
        kinds = {name.split("-")[0] for name in phone.files()}
        return not phone.running() and kinds <= {"act/runner", "act/package"} and phone.folders() == ["act"]

    return check


def test_a_phone_is_measured_through_the_harness(device, phone, package, is_clean):
    stats = measure(package, device, runs=5, warmup=1)
    assert stats.device == f"adb:{phone.serial}"
    assert stats.device_name == "SM-G973U (QUALCOMM Adreno(TM) 640)"
    assert (stats.p50, len(stats.samples_ms), stats.per_kernel_us) == (0.001, 5, (1.0,))
    assert stats.state["before"]["thermal_status"] == 0 and stats.state["after"]["gpu_clock_mhz"] == 585
    assert is_clean(phone)


def test_the_runner_and_a_package_are_sent_once(device, phone, package):
    device.verify(package)
    first = phone.files()
    device.verify(package)
    assert phone.files() == first and len(first) == 2
    assert sum("chmod" in command for command in phone.commands) == 2
    assert max(len(command) for command in phone.commands) < 4000  # what an old adbd takes


def test_a_file_that_was_altered_there_is_sent_again(device, phone, package):
    device.verify(package)
    (name,) = [name for name in phone.files() if "package-" in name]
    path = phone.locate(f"/data/local/tmp/{name}")
    path.write_bytes(path.read_bytes()[:-1])
    assert device.verify(package) == 0
    assert path.read_bytes() == package.read_bytes()


def test_old_packages_make_room(device, phone, package):
    device.verify(package)
    (first,) = [name for name in phone.files() if "package-" in name]
    for age in range(10):
        old = phone.locate(f"/data/local/tmp/act/package-{age}")
        old.write_bytes(b"old")
        os.utime(old, (1e9 - age, 1e9 - age))
    device.verify(package)
    kept = {name for name in phone.files() if "package-" in name}
    assert kept == {first, *(f"act/package-{age}" for age in range(7))}


def test_inputs_are_run_on_the_phone(device, package):
    assert run_inputs(package, device, np.ones((3, 4))).tolist() == np.zeros((3, 4)).tolist()


def test_shell_v1_gives_exit_codes_too(make_phone, open_phone_now, package):
    device = open_phone_now(make_phone(features="cmd"))
    assert device.time(package, QUICK).single_ms == (0.001,) * 5


@pytest.mark.opencl
def test_the_real_runner_computes_on_the_phone(make_phone, open_phone_now, monkeypatch, runner, package, is_clean):
    library = next(library for library in find_libraries() if library.backend == "opencl")
    phone = make_phone(table=None, environment=library.environment)
    monkeypatch.setenv("ACT_PHONE_RUNNER", str(runner))
    device = open_phone_now(phone, run_timeout_s=60)
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    found = run_inputs(package, device, x)
    np.testing.assert_allclose(found, 2 * x + np.array([1, 2, 3, 4]), rtol=1e-5)
    assert min(device.time(package, QUICK).single_ms) > 0
    phone.table = {"f": 250.0}  # computed here, timed by the table
    with pytest.raises(DeviceError, match="list the devices again"):  # a table has an Adreno
        device.time(package, QUICK)
    timing = open_phone_now(phone, run_timeout_s=60).time(package, QUICK)
    assert (timing.single_ms, timing.step_us) == ((0.25,) * 5, (250.0,))
    assert timing.verified_error < 1e-6
    assert is_clean(phone)


def test_fingerprints_are_those_of_model_software_and_driver(make_phone, open_phone_now):
    twins = [make_phone(), make_phone()]
    other = make_phone()
    other.set_properties(ro__build__fingerprint="samsung/beyond1qsqw/beyond1q:11/RP1A/G973U:user/release-keys")
    first, second, third = (open_phone_now(phone).info for phone in (*twins, other))
    assert first.id != second.id and first.fingerprint == second.fingerprint != third.fingerprint


# Transient: tried again after a growing wait


@pytest.mark.parametrize(
    "fault",
    ["drop_in_push", "wrong_checksum", "drop_in_run", "line_noise", "drop_in_result", "truncated_result", "crash"],
)
def test_what_fails_once_is_tried_again(phone, open_phone_now, package, waits, is_clean, fault, reconnect):
    device = open_phone_now(phone, on_wait=lambda: reconnect(phone))
    phone.inject(fault)
    timing = device.time(package, QUICK)
    assert waits == [1.0]
    assert timing.single_ms == (0.001,) * 5
    assert is_clean(phone)


def test_a_runner_that_lost_its_host_is_stopped_at_the_next_contact(
    phone, open_phone_now, package, is_clean, reconnect
):
    orphans = []

    def on_wait():
        orphans.extend(phone.running())
        reconnect(phone)

    phone.inject("drop_in_run")
    assert open_phone_now(phone, on_wait=on_wait).verify(package) == 0
    assert any("act/runner-" in line for line in orphans)
    assert is_clean(phone)


def test_noise_around_the_result_does_no_harm(device, phone, package, waits):
    phone.inject("garbage")
    assert device.time(package, QUICK).single_ms == (0.001,) * 5
    assert waits == []


@pytest.mark.parametrize("fault", ["wrong_checksum", "truncated_result"])
def test_what_keeps_failing_makes_the_phone_unusable(device, phone, package, waits, is_clean, fault):
    phone.inject(fault, times=100)
    with pytest.raises(UnusablePhoneError, match="it failed 3 times, the last time with: ") as error:
        device.time(package, QUICK)
    assert waits == [1.0, 2.0]
    assert policy_of(error.value) == "quarantine"
    phone.inject(fault, times=0)
    assert is_clean(phone)


def test_a_phone_that_goes_away_is_given_up(phone, device, package, waits):
    phone.reachable = False
    phone.disconnect()
    with pytest.raises(UnusablePhoneError, match=r"offline|not found") as error:
        device.time(package, QUICK)
    assert waits == [1.0, 2.0]
    assert policy_of(error.value) == "quarantine"


def test_a_phone_that_never_answers_is_given_up(phone, open_phone_now, package, waits):
    device = open_phone_now(phone, call_timeout_s=0.4)
    phone.inject("silent", times=1000)
    with pytest.raises(UnusablePhoneError, match=r"'adb shell' did not end within 0\.4 s and was stopped"):
        device.time(package, QUICK)
    assert waits == [1.0, 2.0]


# The phone is bad: given up at once


def test_no_space_says_what_to_free(device, phone, package, waits, is_clean):
    phone.inject("no_space")
    with pytest.raises(UnusablePhoneError, match=r"its storage is full: free some space \(act's files are in") as error:
        device.time(package, QUICK)
    assert (waits, policy_of(error.value)) == ([], "quarantine")
    assert is_clean(phone)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"low_power": True}, "its battery saver is on: turn it off"),
        ({"level": 9}, "its battery is at 9 %, needed are 15 %: charge it"),
        ({"override": True}, "set by hand: 'adb shell cmd thermalservice reset'"),
    ],
)
def test_settings_that_forbid_timing_are_named(device, phone, package, waits, state, message):
    phone.set_state(**state)
    with pytest.raises(UnusablePhoneError, match=message):
        device.time(package, QUICK)
    assert waits == []
    assert device.verify(package) == 0  # which times nothing


def test_programs_for_another_machine_do_not_start(device, phone, package, table_runner):
    table_runner.write_bytes(b"\x7fELF\0\0")
    with pytest.raises(UnusablePhoneError, match="it cannot start the runner"):
        device.verify(package)


# The candidate is bad: the phone is not


def test_a_second_crash_is_the_candidates_fault(device, phone, package, waits, is_clean):
    phone.inject("crash", times=2)
    with pytest.raises(CandidateError, match=r"the runner crashed at 'time' \(Segmentation fault\)") as error:
        device.time(package, QUICK)
    assert (error.value.reason, policy_of(error.value), waits) == ("crash", "reject", [1.0])
    assert is_clean(phone)


def test_a_crash_without_a_candidate_is_the_phones_fault(device, phone, waits, is_clean):
    phone.faults_at_devices = True
    phone.inject("crash", times=2)
    with pytest.raises(UnusablePhoneError, match=r"its GPU cannot be looked at: .*the runner crashed at 'devices'"):
        _ = device.info
    assert is_clean(phone)


def test_a_restart_of_the_phone_is_the_candidates_fault(phone, open_phone_now, package, is_clean, reconnect):
    device = open_phone_now(phone, on_wait=lambda: reconnect(phone))
    phone.inject("reboot", times=100)
    with pytest.raises(CandidateError, match="it restarted while it ran this package") as error:
        device.time(package, QUICK)
    assert (error.value.reason, policy_of(error.value)) == ("crash", "reject")
    assert sum("/package-" in command and "--nonce" in command for command in phone.commands) == 1
    assert is_clean(phone)


def test_a_run_that_hangs_is_stopped_and_the_candidates_fault(phone, open_phone_now, package, waits, is_clean):
    device = open_phone_now(phone, run_timeout_s=2.5)
    phone.inject("hang")
    with pytest.raises(CandidateError, match=r"did not finish 'verify' within 2\.5 s and was stopped") as error:
        device.verify(package)
    assert (error.value.reason, policy_of(error.value), waits) == ("hang", "reject", [])
    assert is_clean(phone)


@pytest.mark.opencl
def test_a_wrong_output_is_the_candidates_fault(
    make_phone, open_phone_now, monkeypatch, runner, write, elementwise, is_clean
):
    library = next(library for library in find_libraries() if library.backend == "opencl")
    phone = make_phone(table=None, environment=library.environment)
    monkeypatch.setenv("ACT_PHONE_RUNNER", str(runner))
    wrong = dataclasses.replace(elementwise(), verification_output=np.ones((1, 4), np.float32))
    with pytest.raises(CandidateError, match="differs from the expected one") as error:
        measure(write(wrong), open_phone_now(phone, run_timeout_s=60), runs=3)
    assert (error.value.reason, policy_of(error.value)) == ("wrong_output", "reject")
    assert is_clean(phone)


# The measurement is bad: cool down, and repeat


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"skin": 47.5}, r"it is hot \(case 47\.5 °C, allowed are 42 °C\)"),
        ({"battery": 41}, r"it is hot \(battery 41 °C, allowed are 40 °C\)"),
        ({"gpu_mhz": 345}, r"its GPU is throttled \(to 345 of 585 MHz\)"),
        ({"status": 2}, r"it is throttled \(thermal status 2 of 6\)"),
        ({"gpu_busy": 60}, r"its GPU is busy with something else \(60 %\)"),
    ],
)
def test_a_hot_or_busy_phone_is_waited_for(device, phone, package, waits, is_clean, state, message):
    phone.set_state(**state)
    with pytest.raises(MeasurementError, match=message) as error:
        device.time(package, QUICK)
    assert (waits, policy_of(error.value)) == ([30.0, 60.0], "repeat")
    assert not any("--nonce" in command and "/package-" in command for command in phone.commands)  # nothing was run
    assert is_clean(phone)


def test_a_phone_that_cools_down_is_measured(phone, open_phone_now, package, waits):
    phone.set_state(status=3)
    device = open_phone_now(phone, on_wait=phone.set_state)
    assert device.time(package, QUICK).single_ms == (0.001,) * 5
    assert waits == [30.0]


def test_what_was_measured_while_it_became_hot_is_thrown_away(phone, open_phone_now, package, waits):
    phone.heats_up = True
    device = open_phone_now(phone, on_wait=lambda: setattr(phone, "heats_up", False) or phone.set_state())
    assert device.time(package, QUICK).single_ms == (0.001,) * 5
    assert waits == [30.0]
    assert sum("/package-" in command and "--nonce" in command for command in phone.commands) == 2


# More than one phone


def test_a_failing_phone_does_not_disturb_its_twin(make_phone, open_phone_now, package, is_clean):
    bad, good = make_phone(), make_phone()
    first, second = open_phone_now(bad), open_phone_now(good)
    bad.inject("truncated_result", times=100)
    with pytest.raises(UnusablePhoneError, match=bad.serial):
        first.time(package, QUICK)
    assert second.time(package, QUICK).single_ms == (0.001,) * 5
    assert bad.running() == [] and is_clean(good)


def test_phones_work_at_the_same_time_and_each_for_one_at_a_time(make_phone, open_phone_now, package, is_clean):
    phones = [make_phone(), make_phone(table=2.0)]
    devices = [open_phone_now(phone) for phone in (*phones, *phones)]
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda device: device.time(package, QUICK).single_ms[0], devices))
    assert found == [0.001, 0.002, 0.001, 0.002]
    assert all(is_clean(phone) for phone in phones)


def test_a_driver_that_was_replaced_is_another_device(device, phone, package, monkeypatch):
    assert device.info.driver.endswith("E031.37.12.01")
    monkeypatch.setitem(DEVICE, "driver", "another")
    with pytest.raises(DeviceError, match="now another: list the devices again"):
        device.time(package, QUICK)


# Programs that its driver has built


@pytest.mark.opencl
def test_built_programs_stay_on_the_phone_until_a_crash(
    make_phone, open_phone_now, monkeypatch, runner, package, table_runner
):
    library = next(library for library in find_libraries() if library.backend == "opencl")
    phone = make_phone(table=250.0, environment=library.environment)  # a table has an Adreno
    phone.keeps_programs = True
    monkeypatch.setenv("ACT_PHONE_RUNNER", str(runner))
    device = open_phone_now(phone, run_timeout_s=60)

    def programs():
        return {name: phone.locate(f"/data/local/tmp/{name}").stat().st_mtime_ns for name in phone.files()
                if name.startswith("act/kernel-")}  # fmt: skip

    assert device.verify(package) < 1e-6
    first = programs()
    assert len(first) == 1
    assert device.verify(package) < 1e-6 and programs() == first
    phone.inject("crash")
    assert device.verify(package) < 1e-6
    assert list(programs()) == list(first) and programs() != first  # built again, from source
