"""Sums of kernels beside whole networks, measured end to end, journalled and told."""

import io

import pytest
from act.compiler.targets import get_target
from act.device.devices import CandidateError, DeviceError
from act.device.pool import DevicePool
from act.toolchain.prediction_check import PredictionCheck, PredictionChecks
from act.toolchain.progress import Progress
from act.toolchain.run_folder import Journal

from .table_device import TableDevice


@pytest.fixture
def make_checks(tmp_path):
    """Checks on one device, with what they tell."""

    def make(device):
        def gone(name):
            raise DeviceError(f"{name} is gone")

        told = io.StringIO()
        pool = DevicePool(device.id, [device], reopen=gone)
        events = Journal(tmp_path / "events.jsonl")
        return PredictionChecks(get_target("adreno640"), pool, events, Progress(stream=told, live=False)), told

    return make


def test_a_network_is_measured_once_under_each_name(make_checks, network_of):
    device, network = TableDevice(), network_of("lenet5")
    checks, told = make_checks(device)
    checks.check("dense network", 0.05, lambda: network)
    (row,) = checks.rows()
    assert row["measured_ms"] == pytest.approx(row["kernels_ms"]) and row["device"] == device.id
    assert row["relative_error"] == pytest.approx((0.05 - row["measured_ms"]) / row["measured_ms"])
    assert "dense network: predicted 0.050 ms, measured" in told.getvalue()
    assert "sums of kernels rank candidates" in told.getvalue()
    resumed, _ = make_checks(device)
    resumed.check("dense network", 0.05, lambda: pytest.fail("the network would be made for nothing"))
    assert resumed.rows() == checks.rows() and device.calls == 1


def test_what_does_not_run_has_no_figure_but_a_problem(make_checks, network_of):
    device = TableDevice(fails=lambda content: CandidateError("does not build", reason="build_failure"))
    checks, told = make_checks(device)
    checks.check("round 1", 0.05, lambda: network_of("lenet5"))
    (row,) = checks.rows()
    assert (row["measured_ms"], row["relative_error"], row["problem"]) == (None, None, "does not build")
    assert "warning: round 1: the whole network was not measured: does not build" in told.getvalue()


def test_the_error_is_negative_where_a_network_takes_longer():
    check = PredictionCheck(name="round 1", predicted_ms=0.9, measured_ms=1.2)
    assert check.relative_error == pytest.approx(-0.25)
