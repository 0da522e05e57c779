"""`act compress` whose latency is measured on emulated phones, through the real adb program."""

import hashlib
import json
from collections.abc import Mapping

import pytest
from act.device.local import find_libraries
from act.toolchain.cli import main

CONFIG = """effort = "quick"
threads = 1
[data]
limit_train = 200
[prune]
max_rounds = 1
admm_epochs = 1
purify_trials = 2
[train]
dense_epochs = 1
retrain_epochs = 1
final_epochs = 1
[search]
trials = 6
images = 100
recalibration_images = 100
"""


HASTY = """#!/bin/sh
# The real runner, computing and verifying; its times are thrown away for those of the table, so few will do.
if [ "$1" = time ]; then set -- "$@" --warmup 0 --warmup-ms 0 --runs 1 --bursts 0 --profile 1; fi
exec {runner} "$@"
"""


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


@pytest.fixture
def opencl():
    """How the real runner finds OpenCL on an emulated phone."""
    return next(library for library in find_libraries() if library.backend == "opencl").environment


@pytest.fixture(autouse=True)
def _places(private_adb, opencl, runner, tmp_path, monkeypatch):
    hasty = tmp_path / "hasty-runner"
    hasty.write_text(HASTY.format(runner=runner))
    monkeypatch.setenv("ACT_PHONE_RUNNER", str(hasty))
    monkeypatch.setenv("ACT_OPENCL_LIBRARY", "/missing/libOpenCL.so")
    monkeypatch.setenv("VK_DRIVER_FILES", "/missing.json")
    (tmp_path / "small.toml").write_text(CONFIG)


@pytest.fixture
def compress(tmp_path, monkeypatch):
    """Run the command with a latency database of its own, so that it measures everything."""

    def run(name, device, *flags):
        monkeypatch.setenv("ACT_DATABASE", str(tmp_path / f"{name}.sqlite"))
        out = tmp_path / name
        fixed = ["--target", "adreno640", "--objective", "latency", "--macs-x", "1.5", "--quiet"]
        fixed = [] if "--resume" in flags else [*fixed, "--config", str(tmp_path / "small.toml")]
        return out, main(["compress", "lenet5", "--device", device, "--out", str(out), *fixed, *flags])

    return run


def events_of(out, kind):
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == kind]


def times_of(out):
    return [(event["layer"], event["milliseconds"]) for event in events_of(out, "measured")]


@pytest.fixture
def make_dying_phone(make_phone, run_adb):
    """A phone that is unplugged in the middle of its n-th measurement."""

    def make(measurements, **options):
        phone = make_phone(connect=False, **options)
        serve, begun = phone._serve, []

        def serve_until(service, stream):
            if " time " in service:
                begun.append(service)
            if len(begun) > measurements:
                phone.reachable = False
                phone.disconnect()
                return
            serve(service, stream)

        phone._serve = serve_until
        run_adb("connect", phone.address)
        return phone

    return make


def test_two_phones_of_which_one_dies_end_with_the_plan_of_one_healthy_phone(
    make_phone, make_dying_phone, compress, capsys, opencl
):
    healthy = make_phone(table=Times(), environment=opencl)
    alone, code = compress("alone", f"adb:{healthy.serial}")
    assert code == 0
    dying = make_dying_phone(5, table=Times(), environment=opencl)
    together, code = compress("together", "adb:all")
    assert code == 0
    assert (together / "pruning_plan.json").read_bytes() == (alone / "pruning_plan.json").read_bytes()
    assert times_of(together) == times_of(alone)
    devices = {event["device"] for event in events_of(together, "measured")}
    assert devices == {f"adb:{healthy.serial}", f"adb:{dying.serial}"}
    (paused,) = events_of(together, "device")
    assert paused["device"] == f"adb:{dying.serial}" and paused["happened"] == "paused"
    assert "another one takes its work over" in capsys.readouterr().err
    report = json.loads((together / "report.json").read_text())
    print(json.dumps(report["predictions"], indent=1))
