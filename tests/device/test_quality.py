import numpy as np
import pytest
from act.device.quality import Circumstances, drift_of, judge, spread_of

QUIET = Circumstances(
    other_cores=0.05,
    cores=2,
    window_s=1.0,
    reference_before_ms=10.0,
    reference_after_ms=10.2,
    usual_reference_ms=9.8,
    is_stable=True,
)
STEADY = tuple(np.random.default_rng(0).normal(1.0, 0.01, 100))


def seen(**changes):
    return Circumstances(**{**{name: getattr(QUIET, name) for name in QUIET.__dataclass_fields__}, **changes})


def test_a_quiet_measurement_has_no_flags():
    assert judge(STEADY, QUIET) == {}
    assert judge(STEADY, Circumstances()) == {}  # what cannot be seen is not held against it


def test_the_spread_of_samples():
    spread = spread_of((1.0, 1.0, 1.1, 0.9, 1.0, 5.0))
    assert (spread.minimum, spread.outliers) == (0.9, 1)
    assert spread.mad == pytest.approx(0.05)
    assert spread_of((2.0,)).outliers == 0


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({"other_cores": 0.25}, set()),
        ({"other_cores": 0.26}, {"noisy"}),
        ({"other_cores": 0.8, "cores": 16}, set()),  # 5 % of sixteen
        ({"other_cores": 1.0, "cores": 16}, {"noisy"}),
        ({"other_cores": 1.0, "window_s": 0.1}, set()),  # too short to tell
        ({"reference_after_ms": 10.5}, set()),
        ({"reference_after_ms": 10.6}, {"drift"}),
        ({"reference_after_ms": 9.4}, {"drift"}),
        ({"usual_reference_ms": 8.7}, {"throttled"}),
        ({"usual_reference_ms": 20.0}, set()),
        ({"is_stable": False}, {"unstable"}),
        ({"missing_samples": 3}, {"short"}),
        ({"missing_s": 12.0}, {"short"}),
        ({"other_cores": 2.0, "reference_after_ms": 20.0}, {"noisy", "drift", "throttled"}),
    ],
)
def test_each_flag_at_its_limit(changes, flags):
    assert set(judge(STEADY, seen(**changes))) == flags


def test_samples_that_scatter_or_jump_are_noisy():
    rng = np.random.default_rng(1)
    assert "scatter by" in judge(tuple(rng.uniform(1.0, 2.0, 100)), QUIET)["noisy"]
    jumping = (*STEADY[:85], *(3.0,) * 15)
    assert judge(jumping, QUIET)["noisy"] == "15 of 100 samples lie far from the median"
    assert judge((*STEADY[:95], *(3.0,) * 5), QUIET) == {}
    assert judge((1.0, 2.0, 3.0), QUIET) == {}  # three samples say nothing of scatter


def test_reasons_say_what_was_seen_and_what_is_allowed():
    found = judge(STEADY, seen(other_cores=1.5, reference_after_ms=12.0, usual_reference_ms=8.0))
    assert found["noisy"] == "others kept 1.5 processors busy while it ran (allowed are 0.25)"
    assert "20 % slower meanwhile: the reference took 10 ms before and 12 ms after" in found["drift"]
    assert "38 % slower than usual: the reference usually takes 8 ms" in found["throttled"]


def test_drift_is_the_ratio_of_the_references():
    assert drift_of(QUIET) == pytest.approx(1.02)
    assert drift_of(Circumstances()) is None
    assert drift_of(Circumstances(reference_before_ms=1.0)) is None
