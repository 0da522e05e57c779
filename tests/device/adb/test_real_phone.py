"""On a real phone: ``ACT_TEST_PHONE=adb:SERIAL pytest -m phone``."""

import os

import numpy as np
import pytest
from act.device.devices import open_device
from act.device.harness import measure, run_inputs
from act.device.package_format import write_package

pytestmark = [pytest.mark.phone, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def real_phone():
    device_id = os.environ.get("ACT_TEST_PHONE")
    if not device_id:
        pytest.skip("no phone named: ACT_TEST_PHONE=adb:SERIAL, and Android's adb (apt-get install adb)")
    return open_device(device_id)


def test_it_says_what_it_is(real_phone):
    assert real_phone.info.backends and len(real_phone.info.fingerprint) == 16
    assert real_phone.state()["battery_percent"] is not None


def test_it_computes_and_is_timed(real_phone, tmp_path, elementwise):
    path = tmp_path / "model.actpkg"
    write_package(path, elementwise())
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_allclose(run_inputs(path, real_phone, x), 2 * x + np.array([1, 2, 3, 4]), rtol=1e-5)
    stats = measure(path, real_phone, runs=20)
    assert stats.p50 > 0 and len(stats.per_kernel_us) == 1
