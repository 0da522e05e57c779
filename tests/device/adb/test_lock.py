import subprocess
import sys
import time

import pytest
from act.device.adb.failures import TransientError
from act.device.adb.lock import lock_phone

HOLD = """
import time
from act.device.adb.lock import lock_phone
with lock_phone("adb:A"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_phone_has_one_user_even_in_one_process():
    with lock_phone("adb:A"):
        with (
            pytest.raises(TransientError, match=r"process \d+ has used it for more than 0\.1 s"),
            lock_phone("adb:A", wait_s=0.1),
        ):
            pass
        with lock_phone("adb:B", wait_s=0):
            pass
    with lock_phone("adb:A", wait_s=0):
        pass


def test_a_process_that_dies_gives_its_phone_back():
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(TransientError, match=f"process {holder.pid} "), lock_phone("adb:A", wait_s=0):
            pass
        holder.kill()
        started = time.monotonic()
        with lock_phone("adb:A", wait_s=20):
            assert time.monotonic() - started < 20
