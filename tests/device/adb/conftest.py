"""Emulated phones, and the real adb program with a server of its own, which no other adb server notices."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from act.device.adb.client import AdbClient, list_attached
from act.device.adb.failures import Patience
from act.device.adb.phones import open_phone
from act.device.adb.program import find_adb
from act.device.package_format import write_package

from .emulated_phone import EmulatedPhone

TABLE_RUNNER = Path(__file__).with_name("table_runner.py")
NO_WAITING = Patience(retry_s=(0.0, 0.0), cool_down_s=(0.0, 0.0))


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
def private_adb(adb_environment, monkeypatch, tmp_path):
    """adb with the private server; a cache of the test's own holds the locks."""
    monkeypatch.setenv("ADB_SERVER_SOCKET", adb_environment["ADB_SERVER_SOCKET"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ACT_ADB", raising=False)
    return find_adb()


@pytest.fixture
def run_adb(private_adb):
    """Run adb as a user would."""

    def run(*arguments):
        done = subprocess.run(
            [str(private_adb.path), *arguments], capture_output=True, text=True, timeout=30, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def make_phone(run_adb, tmp_path):
    """Connect emulated phones; by default they answer with times from a table, without a GPU."""
    phones = []

    def make(*, table=None, environment=None, connect=True, **options):
        values = {"ACT_TABLE": str(table or "1.0"), "ACT_PYTHONPATH": os.pathsep.join(sys.path), **(environment or {})}
        phone = EmulatedPhone(tmp_path / f"phone-{len(phones)}", environment=values, **options)
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
def table_runner(monkeypatch):
    """Phones get the program that answers from a table."""
    monkeypatch.setenv("ACT_PHONE_RUNNER", str(TABLE_RUNNER))
    return TABLE_RUNNER


@pytest.fixture
def open_patiently(table_runner):
    """Open a phone that waits for nothing, and note what it would have waited."""

    def open_one(phone, **options):
        device = open_phone(f"adb:{phone.serial}")
        return device.with_patience(NO_WAITING, **options)

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
