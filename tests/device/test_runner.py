import os
import zlib

import pytest
from act.device.errors import CandidateError, DeviceError, NoDeviceError
from act.device.package_format import PackageError
from act.device.runner import call_runner, parse_result


def line(json, nonce="n1"):
    return f"RESULT {nonce} {len(json)} {zlib.crc32(json.encode()):08x} {json}"


def test_result_is_found_among_other_lines():
    assert parse_result("warning: x\n" + line('{"a": 1}') + "\nbye\n", "n1") == {"a": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        line('{"a": 1}', nonce="n2"),
        line('{"a": 1}')[:-1],
        line('{"a": 1}').replace("1}", "2}"),
        line('{"a": 1}') + " ",
        line("[1]"),
        line("{"),
        "RESULT n1 8",
    ],
)
def test_damaged_or_foreign_results_are_none(text):
    assert parse_result(text, "n1") is None


@pytest.fixture
def script(tmp_path):
    """A program in the runner's place."""

    def write(text):
        path = tmp_path / "act-runner"
        path.write_text(f"#!/usr/bin/env python3\nimport os, signal, sys, time, zlib\nnonce = sys.argv[-1]\n{text}\n")
        path.chmod(0o755)
        return path

    return write


def call(path, timeout_s=20.0):
    return call_runner(path, ["time"], environment=os.environ, timeout_s=timeout_s)


def answering(status):
    return (
        f'j = \'{{"status": "{status}", "message": "because"}}\'\n'
        "print('RESULT', nonce, len(j), f'{zlib.crc32(j.encode()):08x}', j)"
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("bad_package", PackageError),
        ("no_device", NoDeviceError),
        ("build_failure", CandidateError),
        ("launch_failure", CandidateError),
        ("wrong_output", CandidateError),
        ("out_of_memory", CandidateError),
        ("file", DeviceError),
    ],
)
def test_failures_keep_their_kind_and_message(script, status, kind):
    with pytest.raises(kind, match="because"):
        call(script(answering(status)))


def test_good_result_is_returned(script):
    assert call(script(answering("ok")))["status"] == "ok"


def test_crash_hang_and_silence_are_device_errors(script, tmp_path):
    with pytest.raises(DeviceError, match="crashed at 'time'"):
        call(script("os.kill(os.getpid(), signal.SIGSEGV)"))
    with pytest.raises(DeviceError, match=r"did not finish 'time' within 0\.5 s"):
        call(script("time.sleep(30)"), timeout_s=0.5)
    with pytest.raises(DeviceError, match="printed no whole result"):
        call(script("print('hello')"))
    with pytest.raises(DeviceError, match="cannot be started"):
        call(tmp_path / "missing")
