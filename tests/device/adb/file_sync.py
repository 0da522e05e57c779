"""The phone's side of adb's sync service: files in and out, first and second version of each request."""

import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .transport import Stream

_REQUEST = struct.Struct("<4sI")
_CHUNK = 64 * 1024


class PushFaults(Protocol):
    """What can go wrong while a file comes in."""

    def take(self, fault: str) -> bool:
        """Whether the fault is to happen now."""


def serve_sync(stream: Stream, locate: Callable[[str], Path], faults: PushFaults) -> None:
    """Answer requests until the host quits.

    Args:
        stream: The opened service.
        locate: Where a path of the phone lies here.
        faults: Asked at each push.
    """
    while True:
        name, length = _REQUEST.unpack(stream.read(_REQUEST.size))
        if name == b"QUIT":
            return
        path = stream.read(length).decode()
        if name in (b"STAT", b"STA2", b"LST2"):
            stream.write(_stat(name, locate(path)))
        elif name in (b"SEND", b"SND2"):
            path, mode = path.rsplit(",", 1) if name == b"SEND" else (path, str(_flags(stream)[0]))
            _take_file(stream, locate(path), int(mode), faults)
        elif name in (b"RECV", b"RCV2"):
            if name == b"RCV2":
                stream.read(8)
            _give_file(stream, locate(path))
        else:
            _fail(stream, f"unknown request {name!r}")
            return


def _flags(stream: Stream) -> tuple[int, int]:
    """The second half of a push's second version: mode and flags; compression is not among our features."""
    _, mode, flags = struct.unpack("<4sII", stream.read(12))
    assert flags & 0x7 == 0, "compressed"
    return mode, flags


def _stat(name: bytes, path: Path) -> bytes:
    try:
        state = path.lstat() if name != b"STA2" else path.stat()
    except OSError as error:
        if name == b"STAT":
            return struct.pack("<4s3I", name, 0, 0, 0)
        return struct.pack("<4sIQQ4IQ3q", name, error.errno or 1, *([0] * 10))
    if name == b"STAT":
        return struct.pack("<4s3I", name, state.st_mode, state.st_size, int(state.st_mtime))
    numbers = (state.st_dev, state.st_ino, state.st_mode, state.st_nlink, state.st_uid, state.st_gid, state.st_size)
    times = (int(state.st_atime), int(state.st_mtime), int(state.st_ctime))
    return struct.pack("<4sIQQ4IQ3q", name, 0, *numbers, *times)


def _take_file(stream: Stream, path: Path, mode: int, faults: PushFaults) -> None:
    data, full = bytearray(), faults.take("no_space")
    while True:
        name, length = _REQUEST.unpack(stream.read(_REQUEST.size))
        if name == b"DONE":
            break
        assert name == b"DATA"
        data += stream.read(length)
        if faults.take("drop_in_push"):
            path.write_bytes(bytes(data[: len(data) // 2]))
            stream.drop()
    if full:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        _fail(stream, "write failed: No space left on device")
        return
    if data and faults.take("wrong_checksum"):
        data[len(data) // 2] ^= 1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(data))
        path.chmod(stat.S_IMODE(mode))
    except OSError as error:
        _fail(stream, f"couldn't create file: {os.strerror(error.errno or 1)}")
        return
    stream.write(_REQUEST.pack(b"OKAY", 0))


def _give_file(stream: Stream, path: Path) -> None:
    try:
        data = path.read_bytes()
    except OSError as error:
        _fail(stream, f"open failed: {os.strerror(error.errno or 1)}")
        return
    for start in range(0, len(data), _CHUNK):
        part = data[start : start + _CHUNK]
        stream.write(_REQUEST.pack(b"DATA", len(part)) + part)
    stream.write(_REQUEST.pack(b"DONE", 0))


def _fail(stream: Stream, message: str) -> None:
    stream.write(_REQUEST.pack(b"FAIL", len(message)) + message.encode())
