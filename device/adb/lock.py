"""One user of a phone at a time, over processes and threads; a process that dies gives its phone back."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final

from ..cache import cache_folder
from .failures import TransientError

WAIT_S: Final = 3600.0
_PAUSE_S: Final = 0.05


@contextmanager
def lock_phone(serial: str, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold a phone while the block runs; wait while another holds it.

    Raises:
        TransientError: If it was not free within ``wait_s``; the message names the process.
    """
    name = hashlib.sha256(serial.encode()).hexdigest()[:16]
    with (cache_folder() / f"phone-{name}.lock").open("a+") as file:
        _wait(file, serial, wait_s)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()}")
        file.flush()
        yield  # closing the file gives the lock back


def _wait(file: IO[str], serial: str, wait_s: float) -> None:
    limit = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= limit:
                file.seek(0)
                holder = file.read(64) or "another process"
                raise TransientError(serial, f"{holder} has used it for more than {wait_s:g} s") from None
            time.sleep(_PAUSE_S)
