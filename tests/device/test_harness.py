import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from act.device.devices import RawTiming, TimingOptions
from act.device.harness import PRESETS, LatencyStats, measure, run_inputs
from act.device.package_format import PackageError

pytestmark = pytest.mark.opencl


def test_measure_reports_samples_with_their_circumstances(device, conv_path):
    stats = measure(conv_path, device, runs=20, warmup=2, max_seconds=2, profile_runs=3)
    assert (stats.kind, stats.device, stats.batch, stats.precision) == ("measured", "opencl:0", 1, "fp32")
    assert stats.fingerprint == device.info.fingerprint
    assert len(stats.samples_ms) == 20
    assert min(stats.samples_ms) <= stats.p50 <= stats.p90 <= max(stats.samples_ms)
    assert stats.p50 == pytest.approx(np.median(stats.samples_ms))
    assert len(stats.per_kernel_us) == 2
    assert set(stats.state) == {"before", "after"} and stats.state["before"]["cores"] >= 1
    assert stats.minimum == min(stats.samples_ms) and stats.mad >= 0 and stats.warmup_runs >= 2
    assert len(stats.reference_ms) == 2 and stats.drift == stats.reference_ms[1] / stats.reference_ms[0]
    assert LatencyStats.from_dict(json.loads(json.dumps(stats.to_dict()))) == stats


def test_profile_can_be_left_out(device, conv_path):
    assert measure(conv_path, device, runs=3, warmup=0, profile_runs=0).per_kernel_us == ()


class Scripted:
    """A device whose timings are given: for what the harness makes of them."""

    id = "scripted:0"

    def __init__(self, device, *timings):
        self.info, self._timings, self.asked = device.info, list(timings), []

    def time(self, package, options):
        self.asked.append(options)
        return self._timings.pop(0)


def raw(*, scale=1.0, other_cpu_s=0.0, before=5.0, after=5.0, samples=100, **changes):
    values = {
        "single_ms": tuple(scale * (1 + 0.001 * (index % 7)) for index in range(samples)),
        "burst_ms": (0.9,),
        "step_us": (1.0, 2.0),
        "verified_error": 0.0,
        "build_ms": 1.0,
        "memory_bytes": 10,
        "warmup_runs": 12,
        "warmup_ms": 210.0,
        "is_stable": True,
        "timed_s": 1.0,
        "other_cpu_s": other_cpu_s,
        "reference_before_ms": (before,) * 5,
        "reference_after_ms": (after,) * 5,
        "cores": 2,
        "state": {"before": {}, "after": {}},
    }
    return RawTiming(**{**values, **changes})


def test_a_flagged_measurement_is_repeated_after_a_pause_and_the_best_is_kept(device, conv_path):
    waits = []
    noisy, drifting, good = raw(scale=3, other_cpu_s=1.0, after=7.0), raw(scale=2, after=7.0), raw()
    stats = measure(conv_path, Scripted(device, noisy, drifting, good), attempts=5, sleep=waits.append)
    assert (stats.flags, stats.attempts, waits) == ({}, 3, [2.0, 10.0])
    assert stats.minimum == 1.0
    stats = measure(conv_path, Scripted(device, noisy, drifting), attempts=2, sleep=waits.append)
    assert (set(stats.flags), stats.attempts, stats.minimum) == ({"drift"}, 2, 2.0)
    stats = measure(conv_path, Scripted(device, noisy), sleep=waits.append)
    assert set(stats.flags) == {"noisy", "drift"}  # once is the default, and says so
    assert len(waits) == 3
    with pytest.raises(ValueError, match="attempts must be at least 1"):
        measure(conv_path, Scripted(device), attempts=0)


def test_what_was_seen_is_part_of_the_measurement(device, conv_path):
    scripted = Scripted(device, raw(other_cpu_s=0.1, after=5.2))
    stats = measure(conv_path, scripted, usual_reference_ms=4.0)
    assert (stats.reference_ms, stats.drift, stats.other_cores) == ((5.0, 5.2), pytest.approx(1.04), 0.1)
    assert stats.reference.startswith("reference-opencl-") and scripted.asked[0].reference.stem == stats.reference
    assert list(stats.flags) == ["throttled"]
    bare = raw(reference_before_ms=(), reference_after_ms=(), reference_problem="no memory", other_cpu_s=None)
    stats = measure(conv_path, Scripted(device, bare))
    assert (stats.reference, stats.reference_ms, stats.drift, stats.other_cores) == ("", (), None, None)
    assert stats.flags == {}


def test_presets(device, conv_path):
    assert (PRESETS["mlperf"].runs, PRESETS["mlperf"].min_seconds) == (1024, 60.0)
    scripted = Scripted(device, raw(samples=900))
    stats = measure(conv_path, scripted, **{**asdict(PRESETS["mlperf"]), "attempts": 1})
    assert stats.headline_ms == stats.p90 and stats.headline == "p90"
    assert "124 samples fewer than asked for and 56 s less" in stats.flags["short"]
    assert (scripted.asked[0].runs, scripted.asked[0].min_seconds) == (1024, 60.0)
    assert measure(conv_path, Scripted(device, raw()), **asdict(PRESETS["quick"])).headline == "p50"


def test_a_load_beside_it_is_flagged(device, conv_path):
    """A real one: a process for each processor, which does nothing but count."""
    count = "while True: pass"
    loads = [subprocess.Popen([sys.executable, "-c", count]) for _ in range(os.cpu_count() or 1)]
    try:
        stats = measure(conv_path, device, runs=200, max_seconds=2)
    finally:
        for load in loads:
            load.kill()
            load.wait()
    assert "noisy" in stats.flags
    assert stats.other_cores > 0.25


def test_single_inferences_go_on_for_the_asked_time(device, conv_path):
    options = TimingOptions(runs=3, warmup=0, warmup_ms=0, max_warmup_ms=0, min_seconds=0.2, bursts=0, profile_runs=0)
    timing = device.time(conv_path, options)
    assert len(timing.single_ms) > 3 and sum(timing.single_ms) / 1000 > 0.15
    assert (timing.reference_before_ms, timing.burst_ms, timing.warmup_runs) == ((), (), 0)
    shorter = dataclasses.replace(options, max_seconds=0.05)
    assert sum(device.time(conv_path, shorter).single_ms) / 1000 < 0.2


def test_the_warm_up_ends_with_two_windows_that_agree_or_with_its_limit(device, conv_path):
    options = TimingOptions(runs=3, warmup=2, warmup_ms=0, max_warmup_ms=0, bursts=0, profile_runs=0)
    timing = device.time(conv_path, options)
    assert timing.warmup_runs >= 3 and timing.is_stable is False  # one window has nothing to agree with
    timing = device.time(conv_path, dataclasses.replace(options, max_warmup_ms=5000))
    assert timing.warmup_ms >= 100 and (timing.is_stable or timing.warmup_ms >= 5000)


def test_a_reference_that_fails_is_told_and_no_failure(device, conv_path, tmp_path):
    (tmp_path / "bad.actpkg").write_bytes(b"no package")
    options = TimingOptions(runs=3, warmup=1, warmup_ms=0, max_warmup_ms=0, bursts=0, profile_runs=0)
    timing = device.time(conv_path, dataclasses.replace(options, reference=tmp_path / "bad.actpkg"))
    assert len(timing.single_ms) == 3
    assert timing.reference_before_ms == () and timing.reference_problem.startswith("not a package")


def test_unknown_fields_are_no_measurement():
    with pytest.raises(ValueError, match="not a measurement"):
        LatencyStats.from_dict({"kind": "modelled", "p50": 1.0})


def test_damaged_package_is_refused_before_the_device_sees_it(device, conv_path):
    data = conv_path.read_bytes()
    conv_path.write_bytes(data[:-1])
    with pytest.raises(PackageError, match="cut short"):
        measure(conv_path, device, runs=3)


def test_inputs_of_another_shape_are_refused(device, conv_path):
    with pytest.raises(ValueError, match=r"inputs have shape \(1, 3, 6, 6\), the package takes \(N, 2, 6, 6\)"):
        run_inputs(conv_path, device, np.zeros((1, 3, 6, 6), np.float32))
    with pytest.raises(ValueError, match="inputs have shape"):
        run_inputs(conv_path, device, np.zeros((2, 6, 6), np.float32))
