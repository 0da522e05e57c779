"""Builds the runtime for Android: ``act-runner``, and ``libact_runtime.so`` with its header for apps.

With the NDK where there is one, else with pip's ``ziglang``, which knows the processors but not Android's C library
(bionic). There the sources see musl's headers, which declare the plain C functions used here alike (no errno, threads,
or thread-local data), and are linked against stubs that define bionic's names and nothing else: a name that bionic may
lack fails to link. The phone's own libraries are found by their names when the program starts.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ..cache import cache_folder
from ..errors import RunnerBuildError
from ..package_format import c_header
from .build import HEADER_PATH, RUNNER_SOURCES, runtime_sources, version_script

ANDROID_ABIS: Final = {"arm64-v8a": "aarch64", "x86_64": "x86_64"}
"""Processor of each ABI, in the compilers' words."""
API_LEVEL: Final = 24  # Android 7: the first with every name below and Vulkan
_FLAGS: Final = ("-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O2", "-fPIC")  # warnings are for the host's compiler
_ZIG_FLAGS: Final = (
    "-fno-stack-protector",  # musl and bionic keep the canary in different places
    "-fno-sanitize=all",
    "-fno-builtin-bcmp",  # bionic has none
    "-g0",
)
_LINK: Final = (
    "--as-needed",
    "--strip-all",
    "--hash-style=both",
    *("-z", "now"),
    *("-z", "noexecstack"),
    *("-z", "max-page-size=16384"),
    *("-z", "common-page-size=16384"),  # no page is shared between what stays writable and what does not
)
_BIONIC: Final = {
    "libc.so": """__libc_init calloc clock_gettime fclose ferror fflush fopen fprintf fputc fputs fread free fseek
        ftell fwrite getenv malloc memchr memcmp memcpy memmove memset nanosleep printf putchar puts qsort realloc
        remove rename snprintf strchr strcmp strlen strncmp strncpy strspn strstr strtod strtoul vsnprintf""",
    "libm.so": "fmax fmin",
    "libdl.so": "dlerror dlopen dlsym",
}
"""Functions of each of bionic's libraries that the runtime may call; all are there from API_LEVEL on."""
_BIONIC_DATA: Final = ("stderr", "stdout")
_START: Final = Path(__file__).with_name("android_start.S")
_VARIABLES: Final = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT")
_TIMEOUT_S: Final = 300
HOW_TO_GET_A_TOOL: Final = "pip install 'act-compress[android]' brings one, or name the NDK with --ndk DIR"


@dataclass(frozen=True, kw_only=True)
class AndroidTool:
    """What compiles for Android.

    Attributes:
        kind: ``ndk`` or ``zig``.
        place: The NDK's folder, or the one of the package ``ziglang``.
        version: As the tool names it.
    """

    kind: Literal["ndk", "zig"]
    place: Path
    version: str

    def __str__(self) -> str:
        return f"NDK {self.version} at {self.place}" if self.kind == "ndk" else f"ziglang {self.version}"


@dataclass(frozen=True, kw_only=True)
class AndroidBuild:
    """The files for one ABI, in the user's cache folder."""

    abi: str
    tool: AndroidTool
    runner: Path
    library: Path
    header: Path

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """All of them."""
        return self.runner, self.library, self.header


def find_android_tool(ndk: Path | None = None) -> AndroidTool | None:
    """The NDK of ``ndk``, ``$ANDROID_NDK_HOME`` or ``$ANDROID_NDK_ROOT``, else pip's ``ziglang``, else nothing.

    Raises:
        RunnerBuildError: If a folder is named and holds no NDK for this machine.
    """
    named = [("--ndk", ndk)] if ndk is not None else []
    named += [(f"${name}", Path(os.environ[name])) for name in _VARIABLES if os.environ.get(name)]
    if named:
        origin, folder = named[0]
        return _ndk(origin, folder)
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        return None
    return AndroidTool(kind="zig", place=Path(spec.origin).parent, version=_zig_version(Path(spec.origin).parent))


def build_android(abi: str, *, ndk: Path | None = None) -> AndroidBuild:
    """The runtime for an ABI; compiled when it is not in the cache yet (some seconds).

    The result is kept in the user's cache folder by the content of sources, tool and flags.

    Args:
        abi: One of ``ANDROID_ABIS``.
        ndk: The NDK to use; default is what ``find_android_tool`` finds.

    Raises:
        RunnerBuildError: If the ABI is unknown, there is no tool, or it refuses the sources.
    """
    if abi not in ANDROID_ABIS:
        raise RunnerBuildError(f"unknown ABI {abi!r}: {', '.join(ANDROID_ABIS)}")
    tool = find_android_tool(ndk)
    if tool is None:
        raise RunnerBuildError(f"nothing here builds for Android: {HOW_TO_GET_A_TOOL}")
    try:
        folder = cache_folder() / f"android-{abi}-{_content_key(tool)}"
        build = AndroidBuild(
            abi=abi,
            tool=tool,
            runner=folder / "act-runner",
            library=folder / "libact_runtime.so",
            header=folder / HEADER_PATH.name,
        )
        if not all(path.is_file() for path in build.files):
            folder.mkdir(parents=True, exist_ok=True)
            _build(build)
    except OSError as error:
        raise RunnerBuildError(
            f"the Android runner cannot be built: {error}; XDG_CACHE_HOME chooses another folder"
        ) from error
    return build


def _ndk(origin: str, folder: Path) -> AndroidTool:
    compilers = sorted(
        (folder / "toolchains" / "llvm" / "prebuilt").glob(f"*/bin/aarch64-linux-android{API_LEVEL}-clang")
    )
    if not compilers:
        raise RunnerBuildError(
            f"{origin} names {folder}, which has no toolchains/llvm/prebuilt/*/bin/aarch64-linux-android{API_LEVEL}"
            "-clang: it must be the folder of an unpacked NDK, release 23 or newer"
        )
    properties = folder / "source.properties"
    lines = properties.read_text().splitlines() if properties.is_file() else []
    revisions = [line.partition("=")[2].strip() for line in lines if line.startswith("Pkg.Revision")]
    return AndroidTool(kind="ndk", place=folder.resolve(), version=revisions[0] if revisions else "of unknown release")


def _zig_version(folder: Path) -> str:
    """From the package's metadata: to ask the program takes a process."""
    versions = [path.stem.partition("-")[2] for path in folder.parent.glob("ziglang-*.dist-info")]
    return versions[0] if versions else "of unknown release"


def _content_key(tool: AndroidTool) -> str:
    digest = hashlib.sha256(repr((str(tool), _FLAGS, _ZIG_FLAGS, _LINK, _BIONIC, _BIONIC_DATA, API_LEVEL)).encode())
    digest.update(c_header().encode())
    for source in sorted(_START.parent.glob("*.[chS]")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def _build(build: AndroidBuild) -> None:
    """Compile in a temporary folder, then move: programs that build at the same time do not disturb each other."""
    with tempfile.TemporaryDirectory(dir=build.runner.parent, prefix="build-") as name:
        folder = Path(name)
        (folder / "act_package.h").write_text(c_header())
        (folder / "exports.map").write_text(version_script())
        if build.tool.kind == "ndk":
            _build_with_ndk(build, folder)
        else:
            _build_with_zig(build, folder)
        shutil.copy(HEADER_PATH, folder)
        for path in build.files:
            (folder / path.name).replace(path)


def _build_with_ndk(build: AndroidBuild, folder: Path) -> None:
    pattern = f"toolchains/llvm/prebuilt/*/bin/{ANDROID_ABIS[build.abi]}-linux-android{API_LEVEL}-clang"
    compiler = next(iter(sorted(build.tool.place.glob(pattern))), None)
    if compiler is None:
        raise RunnerBuildError(f"the NDK at {build.tool.place} has no {pattern}")
    link = [f"-Wl,{','.join(_LINK)}", "-ldl", "-lm"]
    common = [str(compiler), *_FLAGS, "-I", str(folder)]
    sources = [str(path) for path in runtime_sources()]
    _call([*common, "-pie", *sources, *map(str, RUNNER_SOURCES), "-o", str(folder / build.runner.name), *link])
    shared = ["-shared", f"-Wl,-soname,{build.library.name}", f"-Wl,--version-script,{folder / 'exports.map'}"]
    _call([*common, *shared, *sources, "-o", str(folder / build.library.name), *link])


def _build_with_zig(build: AndroidBuild, folder: Path) -> None:
    zig = [sys.executable, "-m", "ziglang"]
    environment = zig_environment()
    compile_one = [
        *zig,
        "cc",
        "-target",
        f"{ANDROID_ABIS[build.abi]}-linux-musl",
        *_FLAGS,
        *_ZIG_FLAGS,
        "-I",
        str(folder),
    ]
    objects = {}
    for source in [*runtime_sources(), *RUNNER_SOURCES, _START]:
        objects[source] = str(folder / f"{source.stem}.o")
        language = [] if source.suffix == ".c" else ["-Wno-unused-command-line-argument"]
        _call([*compile_one, *language, "-c", str(source), "-o", objects[source]], environment)
    stubs = [_stub(name, compile_one, zig, folder, environment) for name in _BIONIC]
    library_objects = [objects[source] for source in runtime_sources()]
    linker = [*zig, "ld.lld", *_LINK]
    program = ["-pie", "--dynamic-linker=/system/bin/linker64", *(objects[path] for path in (_START, *RUNNER_SOURCES))]
    _call([*linker, *program, *library_objects, *stubs, "-o", str(folder / build.runner.name)], environment)
    shared = ["-shared", "-soname", build.library.name, "--no-undefined", f"--version-script={folder / 'exports.map'}"]
    _call([*linker, *shared, "-o", str(folder / build.library.name), *library_objects, *stubs], environment)


def _stub(
    name: str, compile_one: Sequence[str], zig: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> str:
    """A shared object with the name and the symbols of one of Android's libraries, and nothing behind them."""
    source, result = folder / f"{name}.c", folder / name
    data = _BIONIC_DATA if name == "libc.so" else ()
    lines = [f"void {symbol}(void) {{}}" for symbol in _BIONIC[name].split()] + [f"void *{symbol};" for symbol in data]
    source.write_text("\n".join(lines) + "\n")
    _call([*compile_one, "-fno-builtin", "-w", "-c", str(source), "-o", f"{result}.o"], environment)
    _call([*zig, "ld.lld", "-shared", "-soname", name, "-o", str(result), f"{result}.o"], environment)
    return str(result)


def zig_environment() -> dict[str, str]:
    """Zig keeps what it has compiled: in our cache, not beside the user's files."""
    cache = str(cache_folder() / "zig")
    return {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}


def _call(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise RunnerBuildError(f"{Path(command[0]).name} did not finish within {_TIMEOUT_S} s") from error
    if done.returncode != 0:
        raise RunnerBuildError(f"the Android runtime cannot be built:\n{done.stderr[-2000:]}")
