import json

import numpy as np
import pytest
from act.device.harness import LatencyStats, measure, run_inputs
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
    assert set(stats.state) == {"before", "after"}
    assert LatencyStats.from_dict(json.loads(json.dumps(stats.to_dict()))) == stats


def test_profile_can_be_left_out(device, conv_path):
    assert measure(conv_path, device, runs=3, warmup=0, profile_runs=0).per_kernel_us == ()


def test_unknown_fields_are_no_measurement():
    with pytest.raises(ValueError, match="not a measurement"):
        LatencyStats.from_dict({"kind": "modelled", "p50": 1.0})


def test_damaged_package_is_refused_before_the_device_sees_it(device, conv_path):
    data = conv_path.read_bytes()
    conv_path.write_bytes(data[:-1])
    with pytest.raises(PackageError, match="cut short"):
        measure(conv_path, device, runs=3)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_inputs_are_run_in_the_packages_batches(device, write, elementwise, count):
    path = write(elementwise(batch=2))
    inputs = np.random.default_rng(1).standard_normal((count, 4))
    found = run_inputs(path, device, inputs)
    assert found.shape == (count, 4)
    np.testing.assert_allclose(found, 2 * inputs + np.array([1, 2, 3, 4]), rtol=1e-5, atol=1e-6)


def test_inputs_of_another_shape_are_refused(device, conv_path):
    with pytest.raises(ValueError, match=r"inputs have shape \(1, 3, 6, 6\), the package takes \(N, 2, 6, 6\)"):
        run_inputs(conv_path, device, np.zeros((1, 3, 6, 6), np.float32))
    with pytest.raises(ValueError, match="inputs have shape"):
        run_inputs(conv_path, device, np.zeros((2, 6, 6), np.float32))
