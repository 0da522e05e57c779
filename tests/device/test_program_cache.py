"""Built programs that are kept as files: used again, and made anew whatever is wrong with a file."""

import dataclasses
import os
import struct
import zlib

import pytest
from act.device import local
from act.device.errors import RunnerBuildError
from act.device.local import LocalDevice
from act.device.runner import call_runner
from act.device.runtime.build import SANITIZERS, build_runner

pytestmark = pytest.mark.opencl
HEAD = struct.Struct("<8sQQII")


@pytest.fixture
def cache(tmp_path):
    folder = tmp_path / "kernels"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def checked_runner():
    """One that stops at the first invalid memory access."""
    try:
        return build_runner(extra_flags=SANITIZERS)
    except RunnerBuildError as error:
        pytest.skip(f"no sanitizers here: {error}")


@pytest.fixture
def verify(checked_runner, device, cache):
    """Run a package with the cache; return what lies there afterwards, by name."""

    def run(path):
        environment = {**os.environ, **device.info.library.environment, "ACT_KERNEL_CACHE": str(cache)}
        environment["ASAN_OPTIONS"] = "detect_leaks=0"  # of the driver
        arguments = ["verify", str(path), "--device", device.info.runner_id]
        assert call_runner(checked_runner, arguments, environment=environment, timeout_s=60)["verified_error"] < 1e-5
        return {file.name: file.read_bytes() for file in cache.iterdir()}

    return run


def changed_times(cache):
    return {file.name: file.stat().st_mtime_ns for file in cache.iterdir()}


def test_each_program_is_kept_and_used_again(verify, cache, conv_path):
    kept = verify(conv_path)
    assert len(kept) == 2 and all(name.startswith("kernel-") for name in kept)
    before = changed_times(cache)
    assert verify(conv_path) == kept and changed_times(cache) == before  # nothing was built, so nothing was written


def test_other_options_are_another_program(verify, write, elementwise):
    first = verify(write(elementwise()))
    assert len(first) == 1
    assert set(verify(write(elementwise(options="-cl-mad-enable")))) > set(first)


def damaged(content):
    magic, key_bytes, binary_bytes, crc, _ = HEAD.unpack_from(content)
    key, binary = content[HEAD.size : HEAD.size + key_bytes], content[HEAD.size + key_bytes :]

    def file(key=key, binary=binary, magic=magic):
        return HEAD.pack(magic, len(key), len(binary), zlib.crc32(key + binary), 0) + key + binary

    assert file() == content and (binary_bytes, crc) == (len(binary), zlib.crc32(key + binary))
    yield from (b"", content[:7], content[: HEAD.size], content[: HEAD.size + 5], content[:-1], content + b"x")
    yield content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]
    yield file(magic=b"ACTPROG0")
    yield file(key=key[:-1] + b"x")  # another program with this one's hash
    yield file(binary=b"")
    yield file(binary=b"no binary of any driver" * 10)  # whole, but the driver refuses it
    yield HEAD.pack(magic, (1 << 64) - 1, 2, crc, 0) + content[HEAD.size :]
    yield HEAD.pack(magic, key_bytes, (1 << 64) - 1, crc, 0) + content[HEAD.size :]


def test_whatever_is_wrong_with_a_file_the_program_is_built_from_source(verify, cache, write, elementwise):
    path = write(elementwise())
    ((name, content),) = verify(path).items()
    for wrong in damaged(content):
        (cache / name).write_bytes(wrong)
        after = verify(path)
        assert list(after) == [name] and after[name] != wrong
        before = changed_times(cache)
        verify(path)
        assert changed_times(cache) == before  # the new file is whole


def test_a_folder_that_cannot_be_written_to_is_no_failure(verify, cache, write, elementwise):
    cache.rmdir()
    cache.write_text("no folder")
    with pytest.raises(NotADirectoryError):
        verify(write(elementwise()))  # it ran; only looking into the folder fails
    assert cache.read_text() == "no folder"


def test_gpus_keep_programs_and_processors_do_not(device, write, elementwise, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "cache_folder", lambda: tmp_path)
    path = write(elementwise())
    assert device.verify(path) == 0
    assert not (tmp_path / "kernels").exists()
    assert LocalDevice(dataclasses.replace(device.info, type="gpu")).verify(path) == 0
    assert len(list((tmp_path / "kernels").iterdir())) == 1
