"""The C runtime against damaged packages, with checksums made right again and memory errors made fatal."""

import shutil
import subprocess
from pathlib import Path

import pytest
from act.device.errors import DeviceError
from act.device.package_format import PackageError, c_header
from act.device.runner import call_runner
from act.device.runtime import build

RUNTIME = Path(build.__file__).parent


def test_generated_header_agrees_with_the_compiler(tmp_path):
    compiler = shutil.which("gcc") or pytest.skip("needs gcc")
    (tmp_path / "act_package.h").write_text(c_header())
    (tmp_path / "a.c").write_text('#include "act_package.h"\nint main(void) { return 0; }\n')
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
    subprocess.run([compiler, *flags, str(tmp_path / "a.c")], check=True)


def test_runner_accepts_a_good_package_and_names_what_is_wrong_with_others(tmp_path, runner, conv_path, reseal):
    def check(data):
        (tmp_path / "x.actpkg").write_bytes(data)
        return call_runner(runner, ["check", str(tmp_path / "x.actpkg")], environment={}, timeout_s=10)

    data = conv_path.read_bytes()
    assert check(data)["steps"] == 2
    for size in (0, 7, 8, 200, len(data) - 1):
        with pytest.raises(PackageError, match=r"cut short|not a package"):
            check(data[:size])
    with pytest.raises(PackageError, match="altered: the contents"):
        check(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(PackageError, match="altered: the header"):
        check(data[:30] + bytes([data[30] ^ 1]) + data[31:])
    with pytest.raises(PackageError, match="section 10 is outside"):
        check(reseal(data[:-1]))


def test_runner_refuses_what_is_no_file(runner, tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(PackageError, match="cannot"):
            call_runner(runner, ["check", str(path)], environment={}, timeout_s=10)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["time"],
        ["run", "x.actpkg"],
        ["check", "x", "--device"],
        ["devices"],
        ["check", "x", "--nonce", "a b"],
        ["time", "x", "--burst-runs", "0"],
        ["time", "x", "--max-seconds", "nan"],
    ],
)
def test_wrong_usage_is_exit_code_2(runner, arguments):
    done = subprocess.run([str(runner), *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: act-runner" in done.stderr


def test_without_opencl_every_attempt_is_named(runner, conv_path):
    if Path("/usr/lib/x86_64-linux-gnu/libOpenCL.so.1").exists():
        pytest.skip("this machine has a system libOpenCL")
    with pytest.raises(DeviceError, match=r"(?s)/missing\.so: .*libOpenCL\.so.*libOpenCL-pixel\.so|offers no device"):
        call_runner(runner, ["devices", "opencl"], environment={"ACT_OPENCL_LIBRARY": "/missing.so"}, timeout_s=10)
