import os
import socket
import threading

import pytest
from act.device.adb.program import AdbProgramError, AdbServer, find_adb


@pytest.fixture
def write_adb(tmp_path):
    """A program that says a version, in a folder of its own."""

    def write(version, folder="bin"):
        path = tmp_path / folder / "adb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho 'Android Debug Bridge version 1.0.{version}'\necho 'Version 29.0.6-x'\n")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def no_server(monkeypatch):
    """A port where no adb server listens, so that none is asked."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:localhost:{port}")
    for name in ("ACT_ADB", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fake_server():
    """Something that answers one connection as an adb server would."""
    sockets = []

    def start(answer):
        listening = socket.create_server(("127.0.0.1", 0))
        sockets.append(listening)

        def serve():
            channel, _ = listening.accept()
            with channel:
                channel.recv(64)
                channel.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return listening.getsockname()[1]

    yield start
    for listening in sockets:
        listening.close()


def test_a_named_program_comes_first(no_server, write_adb, monkeypatch):
    path = write_adb(41)
    monkeypatch.setenv("ACT_ADB", str(path))
    found = find_adb()
    assert (found.path, found.version, found.release) == (path, 41, "29.0.6-x")
    assert found.command("devices") == [str(path), "devices"]


def test_one_that_is_too_old_is_passed_over_for_the_sdks(no_server, write_adb, monkeypatch):
    old, new = write_adb(31, "old"), write_adb(41, "sdk/platform-tools")
    monkeypatch.setenv("PATH", f"{old.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ANDROID_HOME", str(new.parent.parent))
    assert find_adb().path == new


def test_only_an_old_one_names_the_next_step(no_server, write_adb, monkeypatch):
    monkeypatch.setenv("ACT_ADB", str(write_adb(31)))
    with pytest.raises(AdbProgramError, match=r"version 1\.0\.31, needed is 1\.0\.39 .*act-compress\[adb\]"):
        find_adb()


def test_no_program_names_the_next_step(no_server, tmp_path, monkeypatch):
    monkeypatch.setenv("ACT_ADB", str(tmp_path / "none"))
    with pytest.raises(AdbProgramError, match="apt-get install adb"):
        find_adb()


def test_the_wheel_brings_one(no_server, monkeypatch):
    pytest.importorskip("adbutils", reason="pip install 'act-compress[adb]'")
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_adb().path.parent.name == "binaries"


def test_a_remote_server_is_given_to_every_call(no_server, write_adb, fake_server, monkeypatch):
    monkeypatch.setenv("ACT_ADB", str(write_adb(41)))
    port = fake_server(b"OKAY00040029")
    program = find_adb(AdbServer.parse(f"127.0.0.1:{port}"))
    assert program.command("devices")[1:] == ["-H", "127.0.0.1", "-P", str(port), "devices"]


def test_a_server_of_another_version_is_left_alone(no_server, write_adb, fake_server, monkeypatch):
    monkeypatch.setenv("ACT_ADB", str(write_adb(41)))
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:{fake_server(b'OKAY00040028')}")
    with pytest.raises(
        AdbProgramError, match=r"is version 1\.0\.40, .* is 1\.0\.41 and would stop it: use the same adb"
    ):
        find_adb()


def test_a_remote_server_that_does_not_answer(no_server, write_adb, fake_server, monkeypatch):
    monkeypatch.setenv("ACT_ADB", str(write_adb(41)))
    port = int(os.environ["ADB_SERVER_SOCKET"].rpartition(":")[2])
    with pytest.raises(AdbProgramError, match=r"no adb server answers on .*: start one there"):
        find_adb(AdbServer(host="127.0.0.1", port=port))
    with pytest.raises(AdbProgramError, match=r"no adb server$"):
        find_adb(AdbServer(host="127.0.0.1", port=fake_server(b"HTTP/1.1 400")))


@pytest.mark.parametrize("text", ["lab", "lab:", ":5037", "lab:0", "lab:70000", "-H:5037", "a b:1", "lab:5037;x"])
def test_servers_are_host_and_port(text):
    with pytest.raises(AdbProgramError, match="not of the form host:port"):
        AdbServer.parse(text)
    assert str(AdbServer.parse("lab-2.example:5037")) == "lab-2.example:5037"
