"""TVM is tried in a child process, so that a crash becomes a message."""

import shutil
import sys

import pytest
from act.compiler.check import check_tvm


def script(tmp_path, body):
    """An interpreter that does what a broken TVM would make ours do."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_the_installed_tvm_works():
    assert check_tvm(sys.executable) is None


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell to play a crashing interpreter")
def test_a_crash_becomes_a_message_with_the_versions_to_install(tmp_path):
    message = check_tvm(script(tmp_path, "kill -SEGV $$"))
    assert message is not None
    assert "SIGSEGV" in message
    assert "apache-tvm-ffi==" in message


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell to play a failing interpreter")
def test_a_failure_shows_its_last_line(tmp_path):
    message = check_tvm(script(tmp_path, "echo \"ModuleNotFoundError: No module named 'tvm'\" >&2; exit 1"))
    assert message is not None
    assert "No module named 'tvm'" in message


def test_an_interpreter_that_is_not_there_is_a_message(tmp_path):
    assert "cannot start" in str(check_tvm(str(tmp_path / "nothing")))
