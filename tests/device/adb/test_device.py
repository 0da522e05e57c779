"""Packages on an emulated phone, through the real adb program: what works, and every fault."""

import os

import numpy as np
import pytest
from act.device.adb.failures import MeasurementError, UnusablePhoneError, policy_of
from act.device.devices import CandidateError, DeviceError, TimingOptions
from act.device.harness import measure, run_inputs
from act.device.local import LocalDevice, find_libraries

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
    assert is_clean(phone)
    assert not isinstance(device, LocalDevice)


def test_fingerprints_are_those_of_model_software_and_driver(make_phone, open_phone_now):
    twins = [make_phone(), make_phone()]
    other = make_phone()
    other.set_properties(ro__build__fingerprint="samsung/beyond1qsqw/beyond1q:11/RP1A/G973U:user/release-keys")
    first, second, third = (open_phone_now(phone).info for phone in (*twins, other))
    assert first.id != second.id and first.fingerprint == second.fingerprint != third.fingerprint


# Transient: tried again after a growing wait


@pytest.mark.parametrize(
    "fault", ["drop_in_push", "wrong_checksum", "drop_in_run", "drop_in_result", "truncated_result", "crash"]
)
def test_what_fails_once_is_tried_again(phone, open_phone_now, package, waits, is_clean, fault, reconnect):
    device = open_phone_now(phone, on_wait=lambda: reconnect(phone))
    phone.inject(fault)
    timing = measure(package, device, runs=5, warmup=0)
    assert waits[:1] == [1.0] and set(waits) <= {1.0, 2.0}
    assert timing.samples_ms == (0.001,) * 5
    assert is_clean(phone)
