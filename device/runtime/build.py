"""Builds ``act-runner`` with the machine's C compiler, once for each content of its sources."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..cache import cache_folder
from ..errors import RunnerBuildError
from ..package_format import c_header

_FLAGS: Final = ("-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2")
SANITIZERS: Final = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
"""Extra flags for a runner that stops at the first invalid memory access."""
_LIBRARIES: Final = ("-ldl", "-lm")
_TIMEOUT_S: Final = 120
_FOLDER: Final = Path(__file__).parent
HEADER_PATH: Final = _FOLDER / "act_runtime.h"
"""What a program includes to use the library."""
RUNNER_SOURCES: Final = tuple(_FOLDER / name for name in ("act_runner.c", "runner_json.c", "runner_time.c"))
"""The C files of ``act-runner`` itself, which come beside those of the library."""


def runtime_sources() -> list[Path]:
    """The C files of the library, and of no program."""
    return [path for path in sorted(_FOLDER.glob("act_*.c")) if path not in RUNNER_SOURCES]


def version_script() -> str:
    """What a linker is told so that the shared library offers the functions of its header and nothing else."""
    names = re.findall(r"\b(act_\w+)\(", HEADER_PATH.read_text())
    return f"{{ global: {' '.join(f'{name};' for name in dict.fromkeys(names))} local: *; }};\n"


def build_runner(*, extra_flags: Sequence[str] = ()) -> Path:
    """The runner's path; compiled when it is not in the cache yet (about a second).

    The compiler is ``$CC``, else ``cc``, ``gcc`` or ``clang``. The result is kept in the user's cache folder by the
    content of sources, compiler and flags; programs that build at the same time do not disturb each other.

    Raises:
        RunnerBuildError: If this is not Linux, there is no C compiler, or it refuses the sources.
    """
    return _build("act-runner", [*runtime_sources(), *RUNNER_SOURCES], extra_flags)


def build_library() -> Path:
    """The runtime for programs of one's own: ``libact_runtime.so``, to be used with the header ``act_runtime.h``.

    Cached as ``build_runner`` does.

    Raises:
        RunnerBuildError: As ``build_runner``.
    """
    return _build("libact_runtime.so", runtime_sources(), ["-fPIC", "-shared", "-Wl,-soname,libact_runtime.so"])


def _build(name: str, sources: Sequence[Path], extra_flags: Sequence[str]) -> Path:
    if not sys.platform.startswith("linux"):
        raise RunnerBuildError(
            f"the runner needs Linux, this is {sys.platform!r}: packages can be compiled, not run here"
        )
    compiler = _find_compiler()
    command = [*compiler, *_FLAGS, *extra_flags]
    try:
        folder = cache_folder() / f"runner-{_content_key(command, sorted(_FOLDER.glob('*.[ch]')))}"
        result = folder / name
        if not result.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            _compile(command, sources, result)
    except OSError as error:
        raise RunnerBuildError(f"the runner cannot be built: {error}; XDG_CACHE_HOME chooses another folder") from error
    return result


def _find_compiler() -> list[str]:
    """The compiler's command with its full path."""
    chosen = shlex.split(os.environ.get("CC", ""))
    for name in [chosen[0]] if chosen else ["cc", "gcc", "clang"]:
        path = shutil.which(name)
        if path is not None:
            return [path, *chosen[1:]]
    wanted = (
        f"the C compiler {chosen[0]!r} of $CC was not found" if chosen else "no C compiler was found (cc, gcc, clang)"
    )
    raise RunnerBuildError(f"{wanted}: install one, on Debian or Ubuntu with: apt-get install gcc libc6-dev")


def _content_key(command: Sequence[str], sources: Sequence[Path]) -> str:
    state = Path(command[0]).stat()
    digest = hashlib.sha256(repr((list(command), state.st_size, state.st_mtime_ns)).encode())
    digest.update(c_header().encode())
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def _compile(command: Sequence[str], sources: Sequence[Path], result: Path) -> None:
    with tempfile.TemporaryDirectory(dir=result.parent, prefix="build-") as name:
        folder = Path(name)
        (folder / "act_package.h").write_text(c_header())
        output = folder / result.name
        files = [str(source) for source in sources]
        if result.suffix == ".so":
            (folder / "exports.map").write_text(version_script())
            files.append(f"-Wl,--version-script={folder / 'exports.map'}")
        full = [*command, "-I", str(folder), *files, "-o", str(output), *_LIBRARIES]
        try:
            done = subprocess.run(
                full, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RunnerBuildError(f"{command[0]} did not finish within {_TIMEOUT_S} s") from error
        if done.returncode != 0 or not output.is_file():
            raise RunnerBuildError(
                f"{command[0]} cannot build the runner (is libc6-dev installed?):\n{done.stderr[-2000:]}"
            )
        output.replace(result)
