"""Interchangeable devices that share work, with devices of these tests' own that fail on command."""

import threading
import time
from concurrent.futures import CancelledError
from dataclasses import replace

import pytest
from act.device.devices import CandidateError, DeviceError
from act.device.errors import RunnerDiedError
from act.device.package_format import PackageError
from act.device.pool import DevicePool
from act.device.pool_opening import choose_kind
from act.device.pool_types import NoDeviceLeftError, Notice, ReturnPolicy

from ..phone_info import PHONE

QUICK = ReturnPolicy(look_s=(0.01, 0.02), give_up_s=0.2)


class Phone:
    """A device that does what a test wants; `errors` are raised by the next pieces of work, one each."""

    def __init__(self, name="adb:a", *errors, fingerprint="same"):
        self.info = replace(PHONE, id=name, fingerprint=fingerprint)
        self.id, self.errors, self.done = name, list(errors), []
        self.problems = []

    def state(self):
        return {"problems": self.problems}

    def work(self, item):
        if self.errors:
            raise self.errors.pop(0)
        self.done.append(item)
        return item


@pytest.fixture
def make_pool():
    pools = []

    def make(*phones, reopen=None, policy=QUICK):
        notices = []

        def nobody(name):
            raise DeviceError(f"{name} is not attached")

        pool = DevicePool("adb:all", phones, reopen=reopen or nobody, policy=policy, on_notice=notices.append)
        pools.append(pool)
        return pool, notices

    yield make
    for pool in pools:
        pool.close()


def results(pool, count):
    futures = [pool.submit(lambda phone, item=item: phone.work(item)) for item in range(count)]
    return [pool.result(future) for future in futures]


def happened(notices):
    return [(notice.device, notice.happened) for notice in notices]


def test_devices_work_at_the_same_time(make_pool):
    both = threading.Barrier(2, timeout=10)
    pool, _ = make_pool(Phone("adb:a"), Phone("adb:b"))
    futures = [pool.submit(lambda phone: (both.wait(), phone.id)[1]) for _ in range(2)]
    assert {pool.result(future) for future in futures} == {"adb:a", "adb:b"}


def test_another_device_takes_over_and_nothing_is_lost(make_pool):
    bad, good = Phone("adb:bad", *[DeviceError("gone")] * 9), Phone("adb:good")
    pool, notices = make_pool(bad, good)
    failed = threading.Event()

    def work(phone, item):
        if phone is good:
            assert failed.wait(10)
        failed.set()
        return phone.work(item)

    futures = [pool.submit(lambda phone, item=item: work(phone, item)) for item in range(20)]
    assert [pool.result(future) for future in futures] == list(range(20))
    assert bad.done == [] and sorted(good.done) == list(range(20))
    assert happened(notices)[:1] == [("adb:bad", "paused")]
    assert "another one takes its work over" in notices[0].text


def test_a_device_that_comes_back_goes_on(make_pool):
    phone = Phone("adb:a", DeviceError("unplugged"))
    looks = []

    def reopen(name):
        looks.append(name)
        if len(looks) < 3:
            raise DeviceError("still not there")
        return phone

    pool, notices = make_pool(phone, reopen=reopen)
    assert results(pool, 3) == [0, 1, 2]
    assert happened(notices) == [("adb:a", "paused"), ("adb:a", "returned")]
    assert "waits up to 0.2 s for a device to come back" in notices[0].text
    assert looks == ["adb:a"] * 3


@pytest.mark.parametrize("change", ["another driver", "hot"])
def test_a_device_that_comes_back_as_another_one_or_hot_is_not_used(make_pool, change):
    phone = Phone("adb:a", DeviceError("unplugged"))
    other = Phone("adb:a", fingerprint="other" if change == "another driver" else "same")
    other.problems = ["it is hot"] if change == "hot" else []
    pool, notices = make_pool(phone, reopen=lambda name: other)
    with pytest.raises(
        NoDeviceLeftError, match="it is hot" if change == "hot" else "another device now, or has another"
    ):
        results(pool, 1)
    assert other.done == []
    assert happened(notices) == [("adb:a", "paused"), ("adb:a", "given up")]


def test_when_none_is_left_every_piece_of_work_ends_with_the_reasons(make_pool):
    phones = [Phone("adb:a", *[DeviceError("lost a")] * 9), Phone("adb:b", *[DeviceError("lost b")] * 9)]
    pool, _ = make_pool(*phones)
    futures = [pool.submit(lambda phone: phone.work(0)) for _ in range(5)]
    for future in futures:
        with pytest.raises(NoDeviceLeftError, match=r"(?s)no device is left.*adb:a: adb:a is not att.*adb:b: adb:b is"):
            pool.result(future)
    with pytest.raises(NoDeviceLeftError):
        pool.run(lambda phone: phone.work(1))


def test_a_device_that_is_away_for_long_is_missed_only_while_none_works(make_pool):
    lost, good = Phone("adb:lost", DeviceError("unplugged")), Phone("adb:good")
    looks, back = [], threading.Event()

    def reopen(name):
        looks.append(name)
        if not back.is_set():
            raise DeviceError("not yet")
        return lost

    pool, notices = make_pool(lost, good, reopen=reopen)
    assert pool.run(lambda phone: phone.work(0)) == 0
    while happened(notices) != [("adb:lost", "paused")]:  # the good one may have been first
        pool.run(lambda phone: phone.work(0))
        pool.tell()
    time.sleep(2 * QUICK.give_up_s)
    assert pool.run(lambda phone: phone.work(1)) == 1
    back.set()
    while happened(notices)[-1] != ("adb:lost", "returned"):
        time.sleep(0.01)
        pool.tell()
    assert len(looks) > 3


def test_a_device_that_fails_after_every_return_is_given_up(make_pool):
    phone = Phone("adb:a", *[DeviceError("flaps")] * 9)
    pool, notices = make_pool(phone, reopen=lambda name: phone)
    with pytest.raises(NoDeviceLeftError, match="flaps"):
        results(pool, 1)
    assert len(phone.errors) == 9 - QUICK.failures
    assert happened(notices) == [("adb:a", "paused"), ("adb:a", "returned")] * 2 + [
        ("adb:a", "paused"),
        ("adb:a", "given up"),
    ]


@pytest.mark.parametrize("error", [CandidateError("does not build", reason="build_failure"), PackageError("refused")])
def test_what_is_the_candidates_fault_is_not_the_devices(make_pool, error):
    phone = Phone("adb:a", error)
    pool, notices = make_pool(phone)
    with pytest.raises(type(error), match=str(error)):
        pool.run(lambda phone: phone.work(0))
    assert pool.run(lambda phone: phone.work(1)) == 1
    assert notices == []


def test_a_runner_that_dies_twice_is_the_candidates_fault(make_pool):
    phone = Phone("adb:a", RunnerDiedError("crashed"))
    pool, notices = make_pool(phone)
    assert pool.run(lambda phone: phone.work(0)) == 0
    phone.errors = [RunnerDiedError("crashed"), RunnerDiedError("crashed")]
    with pytest.raises(CandidateError, match="crashed") as error:
        pool.run(lambda phone: phone.work(1))
    assert error.value.reason == "crash" and notices == []


def test_a_bug_reaches_who_handed_the_work_in(make_pool):
    pool, _ = make_pool(Phone())
    with pytest.raises(ZeroDivisionError):
        pool.run(lambda phone: 1 / 0)
    assert pool.run(lambda phone: phone.work(1)) == 1


def test_a_closed_pool_drops_its_work_and_ends_its_threads(make_pool):
    begun, hold = threading.Event(), threading.Event()
    pool, _ = make_pool(Phone())
    running = pool.submit(lambda phone: (begun.set(), hold.wait(10))[1])
    waiting = pool.submit(lambda phone: phone.work(1))
    assert begun.wait(10)
    pool.close()
    hold.set()
    assert pool.result(running) is True
    with pytest.raises(CancelledError):
        pool.result(waiting)


def test_devices_of_different_fingerprints_are_no_pool():
    with pytest.raises(ValueError, match="one fingerprint"):
        DevicePool("adb:all", [Phone(), Phone("adb:b", fingerprint="x")], reopen=Phone)
    with pytest.raises(ValueError, match="no device"):
        DevicePool("adb:all", [], reopen=Phone)


def test_the_most_frequent_kind_is_used_and_the_first_of_equals():
    a, b, c = Phone("adb:a", fingerprint="x"), Phone("adb:b", fingerprint="y"), Phone("adb:c", fingerprint="y")
    assert choose_kind([a, b, c]) == ([b, c], [a])
    assert choose_kind([a, b]) == ([a], [b])
    assert choose_kind([a, b, c], "x") == ([a], [b, c])
    assert choose_kind([a, b], "z") == ([], [a, b])


def test_those_left_out_are_told_of(make_pool):
    notices = []
    left_out = Notice(device="adb:b", happened="left out", text="another kind")
    pool = DevicePool("adb:all", [Phone()], reopen=Phone, left_out=[left_out], on_notice=notices.append)
    pool.tell()
    pool.tell()
    assert notices == [left_out]
