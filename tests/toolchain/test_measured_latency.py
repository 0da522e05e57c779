"""Candidates priced by layers that devices measured: batches, failures, and a journal that is replayed in order."""

import math
import threading
from dataclasses import replace

import pytest
from act.compiler.latency_fit import fit_parameters
from act.compiler.latency_model import modelled_kernels
from act.compiler.layer_shape import LayerShape
from act.compiler.targets import get_target
from act.device.devices import CandidateError, DeviceError
from act.device.pool import DevicePool
from act.device.pool_types import NoDeviceLeftError, ReturnPolicy
from act.toolchain.measured_latency import MeasuredLatency
from act.toolchain.measurement_journal import LayerResult, MeasurementJournal
from act.toolchain.run_folder import Journal

from .table_device import TableDevice

TARGET = get_target("adreno640")


def conv(c_out, c_in=4):
    return LayerShape(
        name=f"conv{c_out}",
        kind="conv",
        c_in=c_in,
        c_out=c_out,
        kernel=(3, 3),
        stride=(1, 1),
        padding=(1, 1),
        dilation=(1, 1),
        groups=1,
        input_hw=(6, 6),
        output_hw=(6, 6),
        columns=c_in * 9,
    )


@pytest.fixture
def make_cost(tmp_path):
    """A cost on some devices, with journal and database of the test's own."""
    pools = []

    def make(*devices, journal="events.jsonl", database="latency.sqlite", reopen=None):
        def nobody(name):
            raise DeviceError(f"{name} is gone")

        policy = ReturnPolicy(look_s=(0.01,), give_up_s=0.1)
        pool = DevicePool("adb:all", devices, reopen=reopen or nobody, policy=policy)
        pools.append(pool)
        records = MeasurementJournal(Journal(tmp_path / journal))
        return MeasuredLatency(TARGET, pool, records, database=tmp_path / database)

    yield make
    for pool in pools:
        pool.close()


def records_of(tmp_path, journal="events.jsonl"):
    return [(event["layer"]["c_out"], event.get("milliseconds")) for event in Journal(tmp_path / journal)]


def test_a_candidate_is_measured_once_and_then_costs_no_device_time(make_cost, tmp_path):
    device = TableDevice()
    cost = make_cost(device)
    candidate = [conv(4), conv(8), conv(4)]
    cost.confirm(candidate)
    price = cost(candidate)
    assert device.calls == 2 and 0 < price < 1
    cost.confirm(candidate)
    resumed, other_run = make_cost(device), make_cost(device, journal="other.jsonl")
    for again in (resumed, other_run):
        again.confirm(candidate)
        assert again(candidate) == price
    assert device.calls == 2
    assert records_of(tmp_path) == records_of(tmp_path, "other.jsonl")


def test_records_and_prices_do_not_depend_on_which_device_was_faster(make_cost, tmp_path):
    layers = [conv(4), conv(5), conv(6), conv(7)]
    alone = make_cost(TableDevice(), journal="alone.jsonl", database="alone.sqlite")
    alone.confirm(layers)
    gate = threading.Event()
    slow = TableDevice("opencl:a", waits_for=gate)
    fast = TableDevice("opencl:b", waits_for=slow.begun)
    fast.fails = lambda content: gate.set() if fast.calls == 3 else None
    both = make_cost(slow, fast)
    both.confirm(layers)
    assert (slow.calls, fast.calls) == (1, 3)
    assert records_of(tmp_path) == records_of(tmp_path, "alone.jsonl")
    assert both(layers) == alone(layers)


def test_what_is_not_measured_is_estimated_by_the_model_fitted_to_what_is(make_cost):
    cost = make_cost(TableDevice())

    def modelled(layer, parameters):
        return modelled_kernels([layer], TARGET, parameters)[0].modelled_us

    assert cost([conv(6)]) == pytest.approx(modelled(conv(6), None) / 1000)
    cost.confirm([conv(4), conv(16)])
    known = {size: 1000 * cost([conv(size)]) for size in (4, 16)}
    fitted = fit_parameters([replace(conv(size), name="") for size in known], list(known.values()), TARGET)
    for size, nearest in ((6, 4), (15, 16)):
        ratio = modelled(conv(size), fitted) / modelled(conv(nearest), fitted)
        assert 1000 * cost([conv(size)]) == pytest.approx(known[nearest] * ratio)


def test_a_flagged_time_serves_its_run_and_no_other(make_cost, tmp_path):
    device = TableDevice(scatter=0.5)
    cost = make_cost(device)
    cost.confirm([conv(4)])
    assert device.calls == 2  # tried again, and flagged again
    (event,) = Journal(tmp_path / "events.jsonl")
    assert event["flags"] == ["noisy"]
    resumed = make_cost(device)
    resumed.confirm([conv(4)])
    assert resumed([conv(4)]) == cost([conv(4)]) and device.calls == 2
    quiet = TableDevice()
    make_cost(quiet, journal="other.jsonl").confirm([conv(4)])
    assert quiet.calls == 1


def test_a_layer_that_does_not_run_has_no_time_and_ends_no_run(make_cost, tmp_path):
    def fails(content):
        if content.output_shape[1] == 5:
            return CandidateError("does not build", reason="build_failure")
        return None

    device = TableDevice(fails=fails)
    cost = make_cost(device)
    cost.confirm([conv(4), conv(5), conv(6)])
    assert cost([conv(4), conv(5)]) == math.inf
    assert math.isfinite(cost([conv(4), conv(6)]))
    assert math.isfinite(cost([conv(7)]))  # what did not run says nothing of its neighbours
    assert cost.problems([conv(4), conv(5)]) == ["conv5: does not build"]
    assert [name for name, value in records_of(tmp_path) if value is None] == [5]
    again = make_cost(device)
    again.confirm([conv(5)])
    assert again([conv(5)]) == math.inf and device.calls == 3


def test_lost_devices_end_the_run_but_not_what_they_measured(make_cost, tmp_path):
    def fails(content):
        return DeviceError("unplugged") if content.output_shape[1] == 6 else None

    device = TableDevice(fails=fails)
    cost = make_cost(device)
    with pytest.raises(NoDeviceLeftError, match="opencl:a is gone"):
        cost.confirm([conv(4), conv(5), conv(6), conv(7)])
    assert [name for name, _ in records_of(tmp_path)] == [4, 5]
    device.fails = None
    resumed = make_cost(device)
    resumed.confirm([conv(4), conv(5), conv(6), conv(7)])
    assert [name for name, _ in records_of(tmp_path)] == [4, 5, 6, 7]
    assert device.calls == 5


def test_a_resumed_run_knows_at_each_moment_what_the_uninterrupted_one_knew(make_cost, tmp_path):
    events = Journal(tmp_path / "events.jsonl")
    cost = make_cost(TableDevice())
    cost.confirm([conv(4)])
    estimates = [cost([conv(12)])]
    cost.confirm([conv(8)])
    events.append({"event": "finished", "stage": "round 1 search", "result": {}})
    estimates.append(cost([conv(12)]))
    cost.confirm([conv(11)])
    estimates.append(cost([conv(12)]))
    assert len(set(estimates)) == 3
    silent = TableDevice(fails=lambda content: AssertionError("nothing is measured twice"))
    resumed = make_cost(silent, database="empty.sqlite")
    resumed.confirm([conv(4)])
    assert resumed([conv(12)]) == estimates[0]
    resumed.catch_up("round 1 search")
    assert resumed([conv(12)]) == estimates[1]
    resumed.confirm([conv(11)])
    assert resumed([conv(12)]) == estimates[2]
    assert silent.calls == 0


def test_additions_have_no_kernel_of_their_own(make_cost):
    device = TableDevice()
    cost = make_cost(device)
    addition = replace(conv(4), kind="elementwise", kernel=(1, 1), padding=(0, 0), columns=4)
    cost.confirm([addition])
    assert (cost([addition]), device.calls) == (0, 0)


def test_a_result_is_a_time_or_a_problem():
    with pytest.raises(ValueError, match="either a time or a problem"):
        LayerResult()
    with pytest.raises(ValueError, match="either a time or a problem"):
        LayerResult(milliseconds=1.0, problem="does not build")
