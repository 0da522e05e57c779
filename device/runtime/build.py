"""Builds ``act-runner`` with the machine's C compiler, once for each content of its sources."""

import hashlib
import os
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


def build_runner(*, extra_flags: Sequence[str] = ()) -> Path:
    """The runner's path; compiled when it is not in the cache yet (about a second).

    The compiler is ``$CC``, else ``cc``, ``gcc`` or ``clang``. The result is kept in the user's cache folder by the
    content of sources, compiler and flags; programs that build at the same time do not disturb each other.

    Raises:
        RunnerBuildError: If this is not Linux, there is no C compiler, or it refuses the sources.
    """
    if not sys.platform.startswith("linux"):
        raise RunnerBuildError(
            f"the runner needs Linux, this is {sys.platform!r}: packages can be compiled, not run here"
        )
    compiler = _find_compiler()
    sources = sorted(Path(__file__).parent.glob("*.[ch]"))
    command = [*compiler, *_FLAGS, *extra_flags]
    try:
        folder = cache_folder() / f"runner-{_content_key(command, sources)}"
        runner = folder / "act-runner"
        if not runner.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            _compile(command, [source for source in sources if source.suffix == ".c"], runner)
    except OSError as error:
        raise RunnerBuildError(f"the runner cannot be built: {error}; XDG_CACHE_HOME chooses another folder") from error
    return runner


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


def _compile(command: Sequence[str], sources: Sequence[Path], runner: Path) -> None:
    with tempfile.TemporaryDirectory(dir=runner.parent, prefix="build-") as name:
        folder = Path(name)
        (folder / "act_package.h").write_text(c_header())
        output = folder / "act-runner"
        files = [str(source) for source in sources]
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
        output.replace(runner)
