"""The Android build of the runtime: its ELF files, and the arm64 runner in an emulator."""

import importlib.util
import os
import shlex
import stat
import struct
import subprocess
from dataclasses import dataclass

import pytest
from act.device.errors import RunnerBuildError
from act.device.package_format import PackageError
from act.device.runner import call_runner
from act.device.runtime.android import ANDROID_ABIS, build_android, find_android_tool
from act.toolchain.cli import main
from act.toolchain.commands.doctor import CHECKS

from .android_emulator import android_emulator

MACHINES = {"arm64-v8a": 183, "x86_64": 62}
COPY_RELOCATIONS = {"arm64-v8a": 1024, "x86_64": 5}
LIBRARIES = {"libc.so", "libm.so", "libdl.so"}
LOAD, DYNAMIC, INTERPRETER, TLS, STACK, RELRO = 1, 2, 3, 7, 0x6474E551, 0x6474E552
NEEDED, STRTAB, SYMTAB, RELA, RELASZ, HASH, SONAME, TEXTREL, JMPREL = 1, 5, 6, 7, 8, 4, 14, 22, 23
PLTRELSZ, FLAGS, FLAGS_1, GNU_HASH = 2, 30, 0x6FFFFFFB, 0x6FFFFEF5


@dataclass
class Segment:
    kind: int
    flags: int
    offset: int
    address: int
    file_size: int
    memory_size: int
    alignment: int


class Elf:
    """What a dynamic loader reads of a 64-bit little-endian ELF file."""

    def __init__(self, path):
        self.data = path.read_bytes()
        assert self.data[:6] == b"\x7fELF\x02\x01"
        self.type, self.machine = struct.unpack_from("<HH", self.data, 16)
        (start,) = struct.unpack_from("<Q", self.data, 32)
        size, count = struct.unpack_from("<HH", self.data, 54)
        self.segments = []
        for i in range(count):
            kind, flags, offset, address, _, in_file, in_memory, alignment = struct.unpack_from(
                "<IIQQQQQQ", self.data, start + i * size
            )
            self.segments.append(Segment(kind, flags, offset, address, in_file, in_memory, alignment))
        (dynamic,) = self.of_kind(DYNAMIC)
        pairs = [struct.unpack_from("<QQ", self.data, dynamic.offset + at) for at in range(0, dynamic.file_size, 16)]
        self.dynamic = pairs[: pairs.index((0, 0))]

    def of_kind(self, kind):
        return [segment for segment in self.segments if segment.kind == kind]

    def tag(self, wanted):
        return next((value for tag, value in self.dynamic if tag == wanted), None)

    def offset(self, address):
        """Place in the file of what lies at an address in memory."""
        return next(
            s.offset + address - s.address for s in self.of_kind(LOAD) if s.address <= address < s.address + s.file_size
        )

    def text(self, at):
        start = self.offset(self.tag(STRTAB)) + at
        return self.data[start : self.data.index(0, start)].decode()

    @property
    def needed(self):
        return {self.text(value) for tag, value in self.dynamic if tag == NEEDED}

    def symbols(self):
        """Names: undefined ones, and defined ones."""
        _, count = struct.unpack_from("<II", self.data, self.offset(self.tag(HASH)))
        undefined, defined = set(), set()
        for i in range(1, count):
            name, _, _, section = struct.unpack_from("<IBBH", self.data, self.offset(self.tag(SYMTAB)) + 24 * i)
            (defined if section else undefined).add(self.text(name))
        return undefined, defined

    def relocation_types(self):
        types = set()
        for table, size in ((RELA, RELASZ), (JMPREL, PLTRELSZ)):
            if self.tag(table) is not None:
                start = self.offset(self.tag(table))
                for at in range(start, start + self.tag(size), 24):
                    types.add(struct.unpack_from("<Q", self.data, at + 8)[0] & 0xFFFFFFFF)
        return types


@pytest.fixture(scope="session", params=list(ANDROID_ABIS))
def build(request):
    if find_android_tool() is None:
        pytest.skip("nothing here builds for Android: pip install 'act-compress[android]'")
    return build_android(request.param)


def check_loadable(elf, abi):
    """What Android's loader insists on, for a program and a library alike."""
    assert (elf.type, elf.machine) == (3, MACHINES[abi])  # position-independent
    assert elf.needed <= LIBRARIES and "libc.so" in elf.needed
    assert elf.of_kind(TLS) == []
    assert elf.of_kind(STACK)[0].flags & 1 == 0  # not executable
    assert elf.tag(TEXTREL) is None
    assert elf.tag(FLAGS) & 8 and elf.tag(FLAGS_1) & 1  # bound when loaded
    assert elf.tag(HASH) is not None and elf.tag(GNU_HASH) is not None
    for segment in elf.of_kind(LOAD):
        assert segment.alignment == 16384 and (segment.address - segment.offset) % 16384 == 0
        assert segment.flags & 3 != 3  # never writable and executable
    assert all((segment.address + segment.memory_size) % 16384 == 0 for segment in elf.of_kind(RELRO))
    assert COPY_RELOCATIONS[abi] not in elf.relocation_types()


def test_runner_is_what_android_loads(build):
    elf = Elf(build.runner)
    check_loadable(elf, build.abi)
    (interpreter,) = elf.of_kind(INTERPRETER)
    assert elf.data[interpreter.offset : interpreter.offset + interpreter.file_size] == b"/system/bin/linker64\0"
    undefined, defined = elf.symbols()
    assert {"__libc_init", "dlopen", "malloc"} <= undefined
    assert not defined
    unwanted = [name for name in undefined if name.startswith("_") and name != "__libc_init"]
    assert not unwanted  # no errno, stack protector, thread-local data, or helper of a compiler
    assert os.access(build.runner, os.X_OK)


def test_library_offers_its_header_and_nothing_else(build):
    elf = Elf(build.library)
    check_loadable(elf, build.abi)
    assert elf.text(elf.tag(SONAME)) == "libact_runtime.so"
    undefined, defined = elf.symbols()
    header = build.header.read_text()
    assert {"act_package_load", "act_session_create", "act_session_run", "act_session_free"} <= defined
    assert all(f"{name}(" in header for name in defined)
    assert "__libc_init" not in undefined


def test_a_build_is_made_once_and_leaves_no_temporary_files(build):
    changed = build.runner.stat().st_mtime_ns
    assert build_android(build.abi) == build
    assert build.runner.stat().st_mtime_ns == changed
    assert {path.name for path in build.runner.parent.iterdir()} == {path.name for path in build.files}


# ---- the emulator ----


@pytest.fixture(scope="session", params=["arm64-v8a", pytest.param("x86_64", marks=pytest.mark.slow)])
def emulated(request, tmp_path_factory):
    """Calls the runner in an emulator, with a stand-in for Android's loader and C library.

    The first use compiles a C library for the stand-in, about a minute; it is then in the user's cache.
    """
    emulator = android_emulator(ANDROID_ABIS[request.param], tmp_path_factory.mktemp("android"))
    program = tmp_path_factory.mktemp("program") / "act-runner"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(emulator)} "{build_android(request.param).runner}" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.mark.timeout(600)
def test_runner_checks_packages(emulated, runner, tmp_path, conv_path):
    there = call_runner(emulated, ["check", str(conv_path)], environment={}, timeout_s=60)
    here = call_runner(runner, ["check", str(conv_path)], environment={}, timeout_s=60)
    assert there == here
    assert there["steps"] == 2
    data = conv_path.read_bytes()
    for damaged in (data[:-1], data[:-1] + bytes([data[-1] ^ 1]), data[:100], b"", data[:40] + b"\xff" + data[41:]):
        (tmp_path / "x.actpkg").write_bytes(damaged)
        with pytest.raises(PackageError, match=r"cut short|altered|not a package"):
            call_runner(emulated, ["check", str(tmp_path / "x.actpkg")], environment={}, timeout_s=60)


@pytest.mark.timeout(600)
def test_runner_without_a_gpu_library_says_so(emulated, conv_path):
    for arguments in (["devices", "opencl"], ["devices", "vulkan"], ["time", str(conv_path)]):
        done = subprocess.run([str(emulated), *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 11
        assert '{"status": "no_device", "message": "no ' in done.stdout
        expected = "libvulkan.so" if "vulkan" in arguments else "/vendor/lib64/libOpenCL.so"
        assert f"  {expected}: dlopen failed" in done.stderr
    usage = subprocess.run([str(emulated)], capture_output=True, text=True, timeout=60)
    assert (usage.returncode, usage.stdout) == (2, "")
    assert usage.stderr.startswith("usage: act-runner")


# ---- which tool, and the command ----

CLANG = """#!/bin/sh
echo "$0 $*" >> "{log}"
while [ $# -gt 1 ]; do if [ "$1" = -o ]; then echo built > "$2"; fi; shift; done
"""


@pytest.fixture
def ndk(tmp_path):
    """A folder like an NDK's, with compilers that write down how they are called."""
    folder = tmp_path / "ndk"
    programs = folder / "toolchains" / "llvm" / "prebuilt" / "linux-x86_64" / "bin"
    programs.mkdir(parents=True)
    (folder / "source.properties").write_text("Pkg.Desc = Android NDK\nPkg.Revision = 27.1.12297006\n")
    for processor in ANDROID_ABIS.values():
        path = programs / f"{processor}-linux-android24-clang"
        path.write_text(CLANG.format(log=folder / "log"))
        path.chmod(0o755)
    return folder


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"):
        monkeypatch.delenv(name, raising=False)


def test_the_ndk_comes_first(ndk, own_cache, monkeypatch):
    monkeypatch.setenv("ANDROID_NDK_ROOT", str(ndk))
    tool = find_android_tool()
    assert (tool.kind, tool.version) == ("ndk", "27.1.12297006")
    built = build_android("x86_64")
    assert all(path.is_file() for path in built.files)
    program, library = (ndk / "log").read_text().splitlines()
    assert "x86_64-linux-android24-clang" in program and "-pie" in program and "act_runner.c" in program
    assert "-shared" in library and "act_runner.c" not in library
    assert all("max-page-size=16384" in line and "-O2" in line for line in (program, library))


def test_a_folder_that_is_no_ndk_is_named(own_cache, tmp_path, monkeypatch):
    with pytest.raises(RunnerBuildError, match=r"--ndk names .*unpacked NDK"):
        build_android("arm64-v8a", ndk=tmp_path)
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path / "missing"))
    with pytest.raises(RunnerBuildError, match=r"\$ANDROID_NDK_HOME names"):
        build_android("arm64-v8a")


def test_without_a_tool_the_error_says_what_to_install(own_cache, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ziglang" else find_spec(name))
    assert find_android_tool() is None
    with pytest.raises(RunnerBuildError, match=r"act-compress\[android\].*--ndk"):
        build_android("arm64-v8a")


def test_a_failing_ndk_shows_its_words(ndk, own_cache):
    for path in ndk.glob("toolchains/llvm/prebuilt/*/bin/*"):
        path.write_text("#!/bin/sh\necho 'stdio.h: no such file' >&2; exit 1\n")
    with pytest.raises(RunnerBuildError, match=r"(?s)cannot be built.*stdio\.h: no such file"):
        build_android("arm64-v8a", ndk=ndk)


def test_the_command_builds_and_copies(ndk, own_cache, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["devices", "build-runner", "--abi", "arm64-v8a", "--ndk", str(ndk), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out / "arm64-v8a" / "act-runner")
    names = {path.name for path in (out / "arm64-v8a").iterdir()}
    assert names == {"act-runner", "libact_runtime.so", "act_runtime.h"}
    assert main(["devices", "build-runner", "--abi", "mips"]) == 2
    assert main(["devices", "build-runner", "--abi", "x86_64", "--ndk", str(tmp_path)]) == 2
    assert "unpacked NDK" in capsys.readouterr().err
    assert main(["devices", "build-runner", "--ndk", str(ndk)]) == 2
    assert "add --abi arm64-v8a" in capsys.readouterr().err


def test_doctor_says_what_builds_for_phones(ndk, own_cache, monkeypatch, tmp_path):
    check = CHECKS["android"]
    assert "the runner for phones" in check().found
    monkeypatch.setenv("ANDROID_NDK_HOME", str(ndk))
    assert check().found.startswith("NDK 27.1.12297006 at ")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path))
    assert not check().ok
