"""Where this package keeps what it can make again: the built runner and the measured latencies."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/act``, or ``~/.cache/act``; made when it is not there.

    Raises:
        OSError: If it cannot be made.
    """
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(chosen) if Path(chosen).is_absolute() else Path.home() / ".cache"
    folder = base / "act"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
