"""The search, deterministic: kernels take the times of a table by their work-group's size."""

from dataclasses import replace

import pytest
from act.compiler.targets import get_target
from act.compiler.tuning.bench import UntunableLayerError
from act.compiler.tuning.search import LayerSearch, candidate_text, parse_candidate, random_order
from act.compiler.tuning.space import Space
from act.device.errors import DeviceError
from act.device.tuning_records import TuningRecords

from .layers import COLUMNS, LINEAR, TableDevice, task

TARGET = get_target("host-opencl")


@pytest.fixture
def records(tmp_path):
    with TuningRecords(tmp_path / "r.sqlite") as opened:
        yield opened


def search(shape, device, records, folder, **options):
    return LayerSearch(task(shape), TARGET, device, records, folder, **options)


def work_items(choice):
    tile = choice.tile
    return getattr(tile, "work_items", None)


def test_the_best_work_group_is_found_and_kept(records, tmp_path):
    device = TableDevice(best=1)
    found = search(LINEAR, device, records, tmp_path)
    assert found.best is None and found.best_choice == found.space.rule
    while found.candidates_tried < 12:
        assert found.step() > 0
    assert found.best.relative < 1
    assert work_items(found.best_choice) == 1
    (winner,) = records.winners("host-opencl fp32")
    assert parse_candidate(winner.trial.candidate) == found.best_choice
    assert winner.fingerprint == device.info.fingerprint


def test_a_search_that_is_begun_again_measures_nothing_twice(records, tmp_path):
    first = search(LINEAR, TableDevice(best=1), records, tmp_path)
    first.step(), first.step()
    device = TableDevice(best=1)
    again = search(LINEAR, device, records, tmp_path)
    assert again.trials == first.trials
    assert again.best_choice == first.best_choice
    before = set(again.trials)
    assert again.step() == len(set(again.trials) - before) > 0


def test_a_device_that_gets_slower_changes_nothing(records, tmp_path):
    steady = search(LINEAR, TableDevice(best=1), records, tmp_path)
    with TuningRecords(tmp_path / "other.sqlite") as others:
        hot = search(LINEAR, TableDevice(best=1, drift=1.5), others, tmp_path)
        for one in (steady, hot):
            one.step(), one.step()
        assert hot.best_choice == steady.best_choice
        assert hot.best.relative == pytest.approx(steady.best.relative)


def test_who_is_fast_once_does_not_win(records, tmp_path):
    device = TableDevice(slope=0.0, lucky=(1, 4, 8, 16))
    found = search(LINEAR, device, records, tmp_path)
    found.step()
    assert device.calls == 2  # the second compares the one that was fast with the rule's, by turns
    assert found.best_choice == found.space.rule
    assert found.best.relative == 1


def test_candidates_that_fail_are_found_and_marked(records, tmp_path):
    found = search(LINEAR, TableDevice(best=1, broken=(1,)), records, tmp_path, proposals=random_order)
    while found.candidates_tried < 12:
        found.step()
    bad = [choice for choice, trial in found.trials.items() if trial.status == "bad"]
    assert bad and len(bad) < found.candidates_tried
    assert {work_items(choice) for choice in bad} == {1}
    assert all("registers" in found.trials[choice].reason for choice in bad)
    assert work_items(found.best_choice) != 1


def test_a_rule_that_fails_is_the_devices_fault(records, tmp_path):
    device = TableDevice(broken=tuple(range(1, 300)))
    with pytest.raises(DeviceError, match="that the rule chose for 'layer' fails"):
        search(LINEAR, device, records, tmp_path).step()
    assert records.winners("host-opencl fp32") == []


def test_a_small_space_is_exhausted(records, tmp_path):
    found = search(LINEAR, TableDevice(), records, tmp_path)
    for _ in range(20):
        if found.is_exhausted:
            break
        found.step()
    assert found.is_exhausted
    assert found.step() == 0


def test_a_layer_whose_sides_are_padded_differently_is_told(records, tmp_path):
    odd = replace(COLUMNS, output_hw=(5, 5))
    with pytest.raises(UntunableLayerError, match="padding differs"):
        search(odd, TableDevice(), records, tmp_path).step()


def test_what_is_no_candidate_is_none():
    text = candidate_text(Space(COLUMNS, 1, TARGET).rule)
    assert parse_candidate(text) is not None
    for bad in ("", "[]", "{}", text.replace('"form": "', '"form": "x'), text.replace('"filters"', '"filter"')):
        assert parse_candidate(bad) is None
