"""Trials and winners by target, layer and device."""

import pytest
from act.device.database import DatabaseError, LatencyDatabase
from act.device.tuning_records import Trial, TuningRecords


def trial(name, status="tried", us=1.0):
    return Trial(candidate=name, status=status, latency_us=us, rule_us=2.0)


@pytest.fixture
def records(tmp_path):
    with TuningRecords(tmp_path / "r.sqlite") as opened:
        yield opened


def test_trials_come_back_as_they_were_in_the_order_tried(records):
    bad = Trial(candidate="b", status="bad", reason="does not build")
    for one in (trial("a"), bad, trial("c", "winner", 0.5)):
        records.put("t fp32", "layer", "f1", one, device="opencl:0")
    assert records.trials("t fp32", "layer", "f1") == [trial("a"), bad, trial("c", "winner", 0.5)]
    assert records.trials("t fp16", "layer", "f1") == records.trials("t fp32", "layer", "f2") == []
    assert (trial("a").relative, bad.relative) == (0.5, float("inf"))


def test_a_winner_takes_the_place_of_the_one_before(records):
    records.put("t", "layer", "f", trial("a", "winner"), device="d")
    records.put("t", "other", "f", trial("a", "winner"), device="d")
    records.put("t", "layer", "f", trial("b", "winner"), device="d")
    records.put("t", "layer", "f", trial("a"), device="d")  # the same candidate again: one row
    assert [t.status for t in records.trials("t", "layer", "f")] == ["winner", "tried"]
    (found,) = (winner for winner in records.winners("t") if winner.layer == "layer")
    assert (found.trial.candidate, found.tried, found.device) == ("b", 2, "d")
    assert len(records.winners("t")) == 2


def test_the_device_that_is_named_comes_first_then_the_one_tuned_last(records):
    for fingerprint in ("f1", "f2", "f3"):
        records.put("adreno640 fp32", "layer", fingerprint, trial(fingerprint, "winner"), device=fingerprint)
    records.put("host-opencl fp32", "layer", "f4", trial("f4", "winner"), device="opencl:0")

    def chosen(fingerprint):
        (winner,) = records.winners("adreno640 fp32", fingerprint)
        return winner.fingerprint

    assert [chosen("f1"), chosen("f2"), chosen(None), chosen("f4")] == ["f1", "f2", "f3", "f3"]


@pytest.mark.parametrize("us", [None, 0.0, -1.0])
def test_times_that_are_none_are_refused(us):
    with pytest.raises(ValueError, match="two positive ones"):
        Trial(candidate="a", status="tried", latency_us=us, rule_us=1.0)
    with pytest.raises(ValueError, match="has no times"):
        Trial(candidate="a", status="bad", latency_us=1.0, rule_us=1.0)


def test_latencies_and_trials_share_a_file(tmp_path):
    path = tmp_path / "r.sqlite"
    with TuningRecords(path) as records, LatencyDatabase(path) as latencies:
        records.put("t", "layer", "f", trial("a"), device="d")
        latencies.put_kernel("k", "f", 3.0)
    with TuningRecords(path) as records, LatencyDatabase(path) as latencies:
        assert records.trials("t", "layer", "f") == [trial("a")]
        assert latencies.get_kernel("k", "f") == 3.0


def test_what_is_no_database_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "r.sqlite"
    path.write_text("this is no database, and long enough to be noticed as such " * 40)
    with pytest.raises(DatabaseError, match="ACT_DATABASE"):
        TuningRecords(path)
