"""Runs programs built for Android on this machine: qemu, with a stand-in for Android's loader and C library."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from act.device.runtime.android import zig_environment

_FLAGS = ("-static", "-fPIE", "-pie", "-O1", "-fno-sanitize=all", "-fno-builtin", "-w")


def android_emulator(processor: str, root: Path) -> tuple[str, ...]:
    """The words before a program's path; skips where there is no emulator.

    The first use compiles a C library for the stand-in, about a minute; it is then in the user's cache.

    Args:
        processor: ``aarch64`` or ``x86_64``.
        root: An empty folder that becomes the phone's root.
    """
    qemu = shutil.which(f"qemu-{processor}-static")
    if qemu is None:
        pytest.skip("no emulator: apt-get install qemu-user-static")
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs ziglang: pip install 'act-compress[android]'")
    linker = root / "system" / "bin" / "linker64"
    linker.parent.mkdir(parents=True)
    source = Path(__file__).with_name("android_linker.c")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", f"{processor}-linux-musl", *_FLAGS]
    command += [str(source), "-o", str(linker)]
    subprocess.run(command, env=zig_environment(), check=True, capture_output=True, timeout=500)
    return qemu, "-L", str(root)
