import pytest
from act.device.adb.failures import (
    MeasurementError,
    Patience,
    RunnerCrashError,
    TransientError,
    UnusablePhoneError,
    classify_failure,
    follow_policy,
    policy_of,
)
from act.device.devices import CandidateError, DeviceError, NoDeviceError
from act.device.package_format import PackageError


@pytest.mark.parametrize(
    "output",
    [
        "error: device offline",
        "error: device 'R58M' not found",
        "error: closed",
        "error: protocol fault (couldn't read status): Connection reset by peer",
        "adb: error: failed to read copy response",
        "adb: error: failed to copy 'a' to 'b': couldn't read from device",
        "error: no devices/emulators found",
        "error: device still authorizing",
        "error: cannot connect to daemon",
        "something that nobody has seen before",
        "",
    ],
)
def test_lost_connections_and_the_unknown_are_transient(output):
    error = classify_failure("R58M", 1, output)
    assert isinstance(error, TransientError)
    assert str(error).startswith(f"phone R58M: {output or 'adb ended with code 1 and no message'}")
    assert policy_of(error) == "retry"


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", "unlock it and accept the key"),
        ("no permissions (user in plugdev group; are your udev rules wrong?)", "add a udev rule"),
        ("error: insufficient permissions for device", "add a udev rule"),
        ("adb: error: failed to copy 'a' to 'b': remote write failed: No space left on device", "free some space"),
        ("sh: can't create x: Read-only file system", "restart it"),
        ("mkdir: '/data/local/tmp/act': Permission denied", "/data/local/tmp"),
        ("recovery", "not booted into Android"),
        ("adb server version (40) doesn't match this client (41); killing...", "one version for both"),
    ],
)
def test_what_needs_attention_says_which(output, advice):
    error = classify_failure("R58M", 1, output)
    assert isinstance(error, UnusablePhoneError)
    assert advice in str(error) and output.splitlines()[0] in str(error)
    assert policy_of(error) == "quarantine"


def test_the_daemons_greeting_is_no_message():
    error = classify_failure("R58M", 1, "* daemon not running; starting now at tcp:5037\n\nerror: closed\n")
    assert str(error) == "phone R58M: error: closed"


def test_every_kind_of_error_has_one_policy():
    assert policy_of(CandidateError("x", reason="build_failure")) == "reject"
    assert policy_of(PackageError("x")) == "reject"
    assert policy_of(MeasurementError("R58M", "hot")) == "repeat"
    assert policy_of(NoDeviceError("x")) == policy_of(DeviceError("x")) == "quarantine"


class Failing:
    """Fails with each error in turn, then gives 7."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.waits = []

    def __call__(self):
        if self.errors:
            raise self.errors.pop(0)
        return 7

    def follow(self):
        patience = Patience(retry_s=(1.0, 2.0), cool_down_s=(30.0, 60.0))
        return follow_policy("R58M", self, patience=patience, sleep=self.waits.append)


LOST, HOT = TransientError("R58M", "closed"), MeasurementError("R58M", "it is hot")


def test_waits_grow_for_each_class_apart():
    call = Failing(LOST, HOT, LOST, HOT)
    assert call.follow() == 7
    assert call.waits == [1.0, 30.0, 2.0, 60.0]


def test_patience_ends():
    with pytest.raises(
        UnusablePhoneError, match="it failed 3 times, the last time with: closed; check cable and phone"
    ):
        Failing(LOST, LOST, LOST).follow()
    with pytest.raises(MeasurementError, match="it is hot"):
        Failing(HOT, HOT, HOT).follow()


def test_two_crashes_are_the_candidates_fault():
    crash = RunnerCrashError("R58M", "the runner crashed")
    assert Failing(crash).follow() == 7
    with pytest.raises(CandidateError) as error:
        Failing(crash, LOST, crash).follow()
    assert error.value.reason == "crash"


def test_other_errors_end_at_once():
    call = Failing(CandidateError("x", reason="build_failure"))
    with pytest.raises(CandidateError):
        call.follow()
    assert call.waits == []
