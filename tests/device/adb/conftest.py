"""Emulated phones, and the real adb program with a server of its own, which no other adb server notices."""

import os
import shutil
import socket
import subprocess
import time

import pytest
from act.device.adb.client import AdbClient, list_attached
from act.device.adb.device import AdbDevice
from act.device.adb.failures import Patience
from act.device.adb.phone import read_properties
from act.device.adb.program import find_adb
from act.device.cache import cache_folder
from act.device.package_format import write_package

from .emulated_phone import EmulatedPhone
from .table_of_times import RUNNER

PATIENCE = Patience(retry_s=(1.0, 2.0), cool_down_s=(30.0, 60.0))


@pytest.fixture(scope="session")
def adb_environment(tmp_path_factory):
    """Variables for a private server; it ends with the tests."""
    if shutil.which("adb") is None:
        pytest.skip("adb is missing: apt-get install adb")
    home = tmp_path_factory.mktemp("adb-home")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    changes = {"HOME": str(home), "ADB_SERVER_SOCKET": f"tcp:localhost:{port}", "ADB_MDNS": "0"}
    call = {"env": {**os.environ, **changes}, "capture_output": True, "timeout": 30, "check": False}
    subprocess.run(["adb", "start-server"], **call)
    yield changes
    subprocess.run(["adb", "kill-server"], **call)


@pytest.fixture
def private_adb(adb_environment, monkeypatch):
    """adb with the private server; a cache of these tests' own holds the locks of phones that never were."""
    monkeypatch.setenv("ADB_SERVER_SOCKET", adb_environment["ADB_SERVER_SOCKET"])
    programs = os.environ.get("POCL_CACHE_DIR") or str(cache_folder().parent / "pocl" / "kcache")
    monkeypatch.setenv("POCL_CACHE_DIR", programs)  # what the local driver has built may stay where it is
    monkeypatch.setenv("XDG_CACHE_HOME", adb_environment["HOME"])
    monkeypatch.delenv("ACT_ADB", raising=False)
    return find_adb()


@pytest.fixture
def run_adb(private_adb, adb_environment):
    """Run adb as a user would, with the private server whatever a test does to the variables."""
    variables = {**os.environ, **adb_environment}

    def run(*arguments):
        done = subprocess.run(
            [str(private_adb.path), *arguments],
            env=variables,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def reconnect(run_adb):
    """Plug a phone in again (adb does so by itself after a while)."""

    def again(phone):
        limit = time.monotonic() + 30
        while time.monotonic() < limit:  # a connection that adb is just giving up may take the new one with it
            run_adb("disconnect", phone.address)
            run_adb("connect", phone.address)
            _, state = run_adb("-s", phone.serial, "get-state")
            if state.strip() == "device":
                return
        raise AssertionError(f"adb does not see {phone.serial} again: {state}")

    return again


@pytest.fixture
def make_phone(run_adb, tmp_path):
    """Connect emulated phones; by default they answer with times from a table, without a GPU."""
    phones = []

    def make(*, connect=True, **options):
        phone = EmulatedPhone(tmp_path / f"phone-{len(phones)}", **options)
        phones.append(phone)
        if connect:
            run_adb("connect", phone.address)
        return phone

    yield make
    for phone in phones:
        run_adb("disconnect", phone.address)
        phone.close()


@pytest.fixture
def phone(make_phone):
    return make_phone()


@pytest.fixture
def client(private_adb, phone):
    return AdbClient(private_adb, phone.serial)


@pytest.fixture
def client_of(private_adb):
    """How a phone is reached."""
    return lambda phone: AdbClient(private_adb, phone.serial)


@pytest.fixture
def table_runner(monkeypatch, tmp_path):
    """Phones get the program that answers from a table."""
    program = tmp_path / "table-runner"
    program.write_text(RUNNER)
    monkeypatch.setenv("ACT_PHONE_RUNNER", str(program))
    return program


@pytest.fixture
def waits():
    """What devices would have waited, in seconds."""
    return []


@pytest.fixture
def open_phone_now(private_adb, table_runner, waits):
    """A phone as a device that notes its waits instead of waiting."""

    def open_one(phone, *, run_timeout_s=20.0, call_timeout_s=10.0, on_wait=None):
        client = AdbClient(private_adb, phone.serial, timeout_s=call_timeout_s)

        def sleep(seconds):
            waits.append(seconds)
            if on_wait is not None:
                on_wait()

        return AdbDevice(
            client,
            device_id=f"adb:{phone.serial}",
            properties=read_properties(AdbClient(private_adb, phone.serial)),  # a busy machine takes its time
            patience=PATIENCE,
            run_timeout_s=run_timeout_s,
            sleep=sleep,
        )

    return open_one


@pytest.fixture
def attached(private_adb):
    """The state of each phone by serial."""
    return lambda: {phone.serial: phone.state for phone in list_attached(private_adb)}


@pytest.fixture
def package(tmp_path, elementwise):
    path = tmp_path / "model.actpkg"
    write_package(path, elementwise())
    return path
