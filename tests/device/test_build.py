import os
import stat
import subprocess
import sys

import pytest
from act.device.errors import DeviceError, RunnerBuildError
from act.device.runner import call_runner
from act.device.runtime.build import SANITIZERS, build_runner


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def compiler_script(tmp_path, text):
    path = tmp_path / "compiler"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_runner_is_built_once_and_leaves_no_temporary_files(runner, cache):
    first = build_runner()
    changed = first.stat().st_mtime_ns
    assert build_runner() == first
    assert first.stat().st_mtime_ns == changed
    assert [path.name for path in first.parent.iterdir()] == ["act-runner"]
    assert cache in first.parents


def test_missing_compiler_says_what_to_install(cache, tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunnerBuildError, match=r"no C compiler was found.*apt-get install gcc libc6-dev"):
        build_runner()
    monkeypatch.setenv("CC", "no-such-cc -m32")
    with pytest.raises(RunnerBuildError, match=r"'no-such-cc' of \$CC was not found"):
        build_runner()


def test_failing_compiler_shows_its_words(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", compiler_script(tmp_path, "echo 'stdio.h: no such file' >&2; exit 1"))
    with pytest.raises(RunnerBuildError, match=r"(?s)cannot build the runner.*stdio\.h: no such file"):
        build_runner()
    monkeypatch.setenv("CC", compiler_script(tmp_path, "exit 0"))
    with pytest.raises(RunnerBuildError, match="cannot build the runner"):
        build_runner()


def test_unwritable_cache_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(RunnerBuildError, match="XDG_CACHE_HOME chooses another folder"):
        build_runner()


def test_other_systems_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(RunnerBuildError, match="needs Linux, this is 'darwin'"):
        build_runner()


@pytest.mark.opencl
def test_whole_session_is_free_of_memory_errors(device, conv_path):
    """Every path of the runtime under the address sanitizer; leaks inside the driver do not count."""
    try:
        runner = build_runner(extra_flags=SANITIZERS)
    except RunnerBuildError as error:
        pytest.skip(f"no sanitizers here: {error}")
    environment = {**os.environ, **device.info.library.environment, "ASAN_OPTIONS": "detect_leaks=0"}
    arguments = ["time", str(conv_path), "--runs", "3", "--warmup-ms", "0", "--bursts", "1", "--max-seconds", "1"]
    result = call_runner(runner, arguments, environment=environment, timeout_s=60)
    assert result["verified_error"] < 1e-5


def test_import_needs_no_heavy_package():
    code = "import sys, act.device.harness, act.device.database; print({'torch', 'tvm', 'pyopencl'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_build_errors_are_device_errors():
    assert issubclass(RunnerBuildError, DeviceError)
