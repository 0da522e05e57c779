"""What a run ran on: versions, processor, threads. Written beside every result, so that a figure can be placed."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import __version__

PACKAGES = ("torch", "torchvision", "onnx", "onnxruntime", "apache-tvm", "apache-tvm-ffi", "numpy")


def describe_environment() -> dict[str, Any]:
    """Version of act, time, and an `environment` of platform, processor, cores and package versions."""
    return {
        "act_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processor": processor_name(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            **{name: _version(name) for name in PACKAGES},
        },
    }


def processor_name() -> str:
    """The processor as the system names it, with the number formats that matter here."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    flags = named.get("flags", "").split()
    formats = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    return f"{named.get('model name', platform.machine())} ({', '.join(formats)})"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
