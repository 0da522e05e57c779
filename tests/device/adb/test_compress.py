"""Searches and whole runs whose latency is measured on emulated phones, through the real adb program."""

import hashlib
import json
import math
from collections.abc import Mapping
from types import SimpleNamespace

import pytest
from act.device.devices import DeviceError
from act.device.local import find_libraries
from act.device.pool_opening import open_pool
from act.device.pool_types import NoDeviceLeftError, ReturnPolicy
from act.toolchain.cli import main
from act.toolchain.compression import make_goal
from act.toolchain.config_file import resolve
from act.toolchain.pipeline import Pipeline
from act.toolchain.progress import Progress
from act.toolchain.run_folder import RunFolder
from act.toolchain.search.budget import Budget
from act.toolchain.stages.search import search_stage

CONFIG = """effort = "quick"
threads = 1
[data]
limit_train = 200
[goal]
target = "adreno640"
objective = "latency"
macs_x = 1.5
[prune]
max_rounds = 1
admm_epochs = 1
purify_trials = 2
[train]
dense_epochs = 1
retrain_epochs = 1
final_epochs = 1
[search]
trials = 3
images = 100
recalibration_images = 100
"""
HASTY = """#!/bin/sh
# The real runner, computing and verifying; its times are thrown away for those of the table, so few will do.
if [ "$1" = time ]; then
  set -- "$@" --warmup 0 --warmup-ms 0 --max-warmup-ms 0 --reference '' --runs 1 --bursts 0 --profile 1
fi
exec {runner} "$@"
"""
NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 12, 3)
        self.conv2 = nn.Conv2d(12, 16, 3)
        self.head = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.head(torch.relu(self.conv2(torch.relu(self.conv1(x)))).mean((2, 3)))

def make(num_classes, in_channels):
    return Net(num_classes, in_channels)
"""
MODEL = "small_net_for_phones:make"
LAYERS_OF_DENSE = 4


class Times(Mapping):
    """Microseconds by kernel key: arbitrary, but the same on every phone."""

    def get(self, key, default=None):
        return 20 + int(hashlib.sha256(key.encode()).hexdigest()[:4], 16) / 1000 if len(key) == 64 else default

    def __getitem__(self, key):
        return self.get(key)

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0


@pytest.fixture(autouse=True)
def _places(private_adb, tmp_path, monkeypatch):
    monkeypatch.setattr("act.device.pool.ReturnPolicy", lambda: ReturnPolicy(look_s=(0.2,), give_up_s=1.0))
    (tmp_path / "small.toml").write_text(CONFIG)
    (tmp_path / "small_net_for_phones.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def search(table_runner, tmp_path, monkeypatch):
    """The first search of a run, all of it but training for long, with a latency database of its own."""

    def run(name, device):
        monkeypatch.setenv("ACT_DATABASE", str(tmp_path / f"{name}.sqlite"))
        config = resolve(None, tmp_path / "small.toml", {"goal": {"device": device}, "network": {"model": MODEL}})
        path = tmp_path / name
        folder = RunFolder(path) if path.exists() else RunFolder.create(path, config, {}, "act compress")
        bench, dense = Pipeline(config, folder, Progress(quiet=True), allow_code=True).prepare()
        with bench.pool:
            goal = make_goal(bench, dense)
            return search_stage(bench, "round 1 search", dense, Budget(limits=goal.limits_at(1)), "latency")

    return run


@pytest.fixture
def make_phone_that(make_phone, run_adb):
    """A phone to which something happens in the middle of its n-th measurement."""

    def make(happens, measurement, **options):
        phone = make_phone(connect=False, **{"table": Times(), **options})
        serve, phone.measured = phone._serve, 0

        def counted(service, stream):
            phone.measured += " time " in service
            if phone.measured == measurement and " time " in service:
                happens(phone)
            if phone.reachable:
                serve(service, stream)

        phone._serve = counted
        run_adb("connect", phone.address)
        return phone

    return make


def unplug(phone):
    phone.reachable = False
    phone.disconnect()


def save_power(phone):
    phone.set_state(low_power=True)


def events_of(out, kind):
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == kind]


def times_of(out):
    return [(event["layer"], event.get("milliseconds")) for event in events_of(out, "measured")]


def nothing(phone):
    pass


@pytest.fixture(scope="module")
def searched_before():
    return {}


@pytest.fixture
def alone(make_phone_that, search, searched_before, run_adb, tmp_path):
    """What a search on one healthy phone finds, and its measurements in order."""
    if not searched_before:
        phone = make_phone_that(nothing, 0)
        searched_before["found"] = search("alone", f"adb:{phone.serial}")
        searched_before["times"] = times_of(tmp_path / "alone")
        searched_before["measured"] = phone.measured
        run_adb("disconnect", phone.address)
    return SimpleNamespace(**searched_before)


def test_a_search_does_not_depend_on_phones_and_goes_on_without_one(alone, make_phone_that, search, tmp_path):
    make_phone_that(nothing, 0)
    failing = make_phone_that(save_power, 3)
    assert search("together", "adb:all") == alone.found
    assert times_of(tmp_path / "together") == alone.times
    devices = [event["device"] for event in events_of(tmp_path / "together", "measured") if "device" in event]
    assert devices.count(f"adb:{failing.serial}") <= 2 and len(set(devices)) == 2
    happened = [(event["device"], event["happened"]) for event in events_of(tmp_path / "together", "device")]
    assert happened[0] == (f"adb:{failing.serial}", "paused")
    assert "its battery saver is on" in events_of(tmp_path / "together", "device")[0]["text"]


def test_a_search_whose_only_phone_goes_is_resumed_without_measuring_twice(alone, make_phone_that, search, tmp_path):
    failing = make_phone_that(save_power, LAYERS_OF_DENSE + 3)
    with pytest.raises(NoDeviceLeftError, match=r"no device is left to measure on:\n.*its battery saver is on"):
        search("cut", f"adb:{failing.serial}")
    before = times_of(tmp_path / "cut")
    assert LAYERS_OF_DENSE <= len(before) < len(alone.times)
    failing.set_state()
    assert search("cut", f"adb:{failing.serial}") == alone.found
    assert times_of(tmp_path / "cut") == alone.times
    assert failing.measured == alone.measured + 1  # that one which was thrown away
    failing.measured = 0
    assert search("cut", f"adb:{failing.serial}") == alone.found
    assert failing.measured == 0


def test_a_phone_that_comes_back_in_time_ends_nothing(alone, make_phone_that, search, monkeypatch):
    monkeypatch.setattr("act.device.pool.ReturnPolicy", lambda: ReturnPolicy(look_s=(0.2,), give_up_s=60.0))
    looks = []

    def busy_for_a_while(phone):
        save_power(phone)
        monkeypatch.setattr("act.device.pool.check_ready", lambda *_: looks.append(phone.set_state()))

    assert search("paused", f"adb:{make_phone_that(busy_for_a_while, 3).serial}") == alone.found
    assert len(looks) == 1


def test_a_layer_that_crashes_the_driver_has_no_time_and_the_search_goes_around_it(make_phone_that, search, tmp_path):
    phone = make_phone_that(lambda phone: phone.inject("crash", times=2), LAYERS_OF_DENSE + 3)
    found = search("crash", f"adb:{phone.serial}")
    (crashed,) = [event for event in events_of(tmp_path / "crash", "measured") if "milliseconds" not in event]
    assert "the runner crashed at 'time'" in crashed["problem"]
    assert 0 < found.costs["latency"] < math.inf
    predicted = events_of(tmp_path / "crash", "prediction")
    assert [entry["name"] for entry in predicted] == ["dense network", "round 1 search"]
    assert predicted[1]["predicted_ms"] == found.costs["latency"]
    assert predicted[1]["relative_error"] == pytest.approx(
        found.costs["latency"] / predicted[1]["measured_ms"] - 1, abs=1e-9
    )


def test_a_dense_network_that_does_not_run_ends_the_search_with_what_to_do(make_phone_that, search):
    phone = make_phone_that(lambda phone: phone.inject("crash", times=2), 1)
    with pytest.raises(
        DeviceError, match=r"cannot run the dense network, choose another --target.*\n  .*conv1: .*crash"
    ):
        search("dense", f"adb:{phone.serial}")


def test_a_run_without_a_phone_left_ends_with_3_and_the_command_that_resumes_it(
    make_phone_that, table_runner, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("ACT_DATABASE", str(tmp_path / "latency.sqlite"))
    phone = make_phone_that(save_power, 2)
    fixed = ["--config", str(tmp_path / "small.toml"), "--quiet", "--out", str(tmp_path / "run")]
    assert main(["compress", MODEL, "--device", f"adb:{phone.serial}", *fixed]) == 3
    said = capsys.readouterr().err
    assert "given up: " in said and "no device is left to measure on" in said
    assert f"compress {MODEL} --resume --out {tmp_path / 'run'}" in said
    assert len(times_of(tmp_path / "run")) == 1


def test_all_phones_are_those_of_one_kind_and_others_are_named(make_phone, table_runner, run_adb):
    other, *twins = [make_phone() for _ in range(3)]
    other.set_properties(ro__build__fingerprint="another/build")
    locked = make_phone(connect=False)
    locked.authorised = False
    run_adb("connect", locked.address)
    notices = {}
    with open_pool("adb:all", on_notice=lambda notice: notices.update({notice.device: notice})) as pool:
        assert set(pool.ids) == {f"adb:{phone.serial}" for phone in twins}
        pool.tell()
    assert {notice.happened for notice in notices.values()} == {"left out"}
    assert "another kind than adb:" in notices[f"adb:{other.serial}"].text
    assert "has not authorised this computer" in notices[f"adb:{locked.serial}"].text
    with pytest.raises(DeviceError, match="measured on devices of fingerprint 0123, now there is adb:"):
        open_pool(f"adb:{other.serial}", fingerprint="0123")


def test_a_dry_run_says_which_phones_would_measure(make_phone, table_runner, tmp_path, capsys):
    first, second = make_phone(), make_phone()
    second.set_properties(ro__build__fingerprint="another/build")
    out = tmp_path / "run"
    assert main(["compress", "--dry-run", "--device", "adb:all", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert f"would be measured on adb:{first.serial}" in said or f"would be measured on adb:{second.serial}" in said
    assert "left out: it is SM-G973U" in said and not out.exists()


@pytest.mark.slow
@pytest.mark.opencl
@pytest.mark.timeout(600)
def test_a_run_on_two_phones_of_which_one_dies_ends_with_the_plan_of_one_healthy_phone(
    make_phone_that, runner, tmp_path, monkeypatch, capsys
):
    opencl = next(library for library in find_libraries() if library.backend == "opencl").environment
    monkeypatch.setenv("ACT_OPENCL_LIBRARY", "/missing/libOpenCL.so")  # of this machine itself
    hasty = tmp_path / "hasty-runner"
    hasty.write_text(HASTY.format(runner=runner))
    monkeypatch.setenv("ACT_PHONE_RUNNER", str(hasty))

    def compress(name, device):
        monkeypatch.setenv("ACT_DATABASE", str(tmp_path / f"{name}.sqlite"))
        fixed = ["--objective", "latency", "--config", str(tmp_path / "small.toml"), "--quiet"]
        assert main(["compress", MODEL, "--device", device, "--out", str(tmp_path / name), *fixed]) == 0
        return tmp_path / name

    healthy = make_phone_that(nothing, 0, environment=opencl)
    alone = compress("alone", f"adb:{healthy.serial}")
    dying = make_phone_that(unplug, LAYERS_OF_DENSE - 1, environment=opencl)
    together = compress("together", "adb:all")
    for name in ("pruning_plan.json", "weights.safetensors"):
        assert (together / name).read_bytes() == (alone / name).read_bytes(), name
    assert times_of(together) == times_of(alone)
    assert {event["device"] for event in events_of(together, "measured") if "device" in event} == {
        f"adb:{phone.serial}" for phone in (healthy, dying)
    }
    paused = events_of(together, "device")[0]
    assert (paused["device"], paused["happened"]) == (f"adb:{dying.serial}", "paused")
    assert "another one takes its work over" in capsys.readouterr().err
    report = json.loads((together / "report.json").read_text())
    assert [entry["name"] for entry in report["predictions"]] == ["dense network", "round 1 search", "round 1"]
    assert all(entry["relative_error"] is not None for entry in report["predictions"])
    assert "Predicted and measured" in (together / "report.html").read_text()
