"""The example program: the public header and the shared library, from outside."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from act.device.runtime import build
from act.toolchain.cli import main

EXAMPLE = Path(build.__file__).parent / "example" / "act_example.c"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    compiler = shutil.which("gcc") or pytest.skip("needs a C compiler: apt-get install gcc libc6-dev")
    folder = tmp_path_factory.mktemp("example")
    assert main(["devices", "build-runner", "--out", str(folder)]) == 0
    host = folder / "host"
    assert {path.name for path in host.iterdir()} == {"act-runner", "libact_runtime.so", "act_runtime.h"}
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{host}", f"-L{host}", f"-Wl,-rpath,{host}"]
    program = folder / "act_example"
    subprocess.run([compiler, *flags, str(EXAMPLE), "-lact_runtime", "-o", str(program)], check=True)
    return program


@pytest.mark.opencl
def test_it_loads_runs_and_frees(example, device, conv_path, conv_package):
    environment = {**os.environ, **device.info.library.environment}
    arguments = [str(example), str(conv_path), device.info.id]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("host-opencl, for opencl: 2 kernels on ")
    values = re.findall(r"output (\d): (\S+) \(known: (\S+)\)", done.stdout)
    assert [int(index) for index, _, _ in values] == list(range(8))
    for index, output, known in values:
        assert float(known) == pytest.approx(float(conv_package.verification_output.flat[int(index)]), rel=1e-5)
        assert float(output) == pytest.approx(float(known), rel=1e-4, abs=1e-5)


def test_it_says_what_is_wrong(example, tmp_path):
    (tmp_path / "x.actpkg").write_bytes(b"nothing")
    done = subprocess.run([str(example), str(tmp_path / "x.actpkg")], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (10, "not a package: wrong first bytes\n")
    assert subprocess.run([str(example)], capture_output=True, timeout=60).returncode == 2


def test_the_library_offers_only_its_header(example):
    names = subprocess.run(
        ["nm", "-D", "--defined-only", str(example.parent / "host" / "libact_runtime.so")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    header = (example.parent / "host" / "act_runtime.h").read_text()
    offered = [line.split()[-1] for line in names.splitlines()]
    assert "act_session_run" in offered
    assert all(f"{name}(" in header for name in offered)
