"""The phone's side of adb's transport protocol over TCP: connect, authorise, open streams.

A message is a header of six little-endian words (command, two arguments, length, sum of the data's bytes, command
inverted) and its data. Each stream has at most one unacknowledged write in each direction.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

VERSION = 0x01000001  # from here on the sums are not checked
MAX_DATA = 256 * 1024
_HEADER = struct.Struct("<6I")
_TOKEN, _SIGNATURE, _PUBLIC_KEY = 1, 2, 3
_WAIT_S = 30.0


def _word(name):
    return int.from_bytes(name, "little")


CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = (_word(name) for name in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE"))


class StreamClosed(Exception):  # noqa: N818 - an end, not an error
    """The other side closed the stream, or the connection is gone."""


class Stream:
    """One service that the host has opened."""

    def __init__(self, connection: "Connection", local: int, remote: int) -> None:
        self._connection, self.local, self.remote = connection, local, remote
        self._changed = threading.Condition()
        self._buffer = bytearray()
        self._may_write = True
        self.closed = False

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._buffer) >= size or self.closed, _WAIT_S):
                raise StreamClosed
            if len(self._buffer) < size:
                raise StreamClosed
            data = bytes(self._buffer[:size])
            del self._buffer[:size]
            return data

    def write(self, data: bytes) -> None:
        """Send everything, each part after the one before was acknowledged."""
        for start in range(0, len(data), MAX_DATA):
            with self._changed:
                if not self._changed.wait_for(lambda: self._may_write or self.closed, _WAIT_S) or self.closed:
                    raise StreamClosed
                self._may_write = False
            self._connection.send(WRTE, self.local, self.remote, data[start : start + MAX_DATA])

    def close(self) -> None:
        """Tell the host that the service is done, when it has taken everything."""
        with self._changed:
            self._changed.wait_for(lambda: self._may_write or self.closed, _WAIT_S)
            was_open, self.closed = not self.closed, True
        if was_open:
            with contextlib.suppress(OSError):
                self._connection.send(CLSE, self.local, self.remote)

    def drop(self) -> None:
        """Close the whole connection, as a pulled cable does."""
        self._connection.close()
        raise StreamClosed

    def send_noise(self) -> None:
        """Send what is no message, as a bad cable does."""
        self._connection.send_raw(bytes(range(200, 256)) * 4)

    def feed(self, data: bytes) -> None:
        with self._changed:
            self._buffer += data
            self._changed.notify_all()

    def acknowledged(self) -> None:
        with self._changed:
            self._may_write = True
            self._changed.notify_all()

    def ended(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()


class Connection(threading.Thread):
    """One connection of an adb server.

    Args:
        channel: The accepted socket.
        banner: Gives the phone's description, with its features.
        authorised: Whether the host may use the phone.
        serve: Runs a service by its name on a stream, in a thread of its own.
    """

    def __init__(
        self,
        channel: socket.socket,
        *,
        banner: Callable[[], bytes],
        authorised: Callable[[], bool],
        serve: Callable[[str, Stream], None],
    ) -> None:
        super().__init__(daemon=True)
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._channel, self._banner, self._authorised, self._serve = channel, banner, authorised, serve
        self._sending = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._next = 1

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        header = _HEADER.pack(command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        with self._sending:
            self._channel.sendall(header + data)

    def send_raw(self, data: bytes) -> None:
        with self._sending:
            self._channel.sendall(data)

    def run(self) -> None:
        with contextlib.suppress(OSError, StreamClosed):
            while True:
                command, first, second, length, _, magic = _HEADER.unpack(self._receive(_HEADER.size))
                assert magic == command ^ 0xFFFFFFFF
                self._handle(command, first, second, self._receive(length))
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        self._channel.close()
        for stream in list(self._streams.values()):
            stream.ended()

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._channel.recv(size - len(data))
            if not part:
                raise StreamClosed
            data += part
        return bytes(data)

    def _handle(self, command: int, first: int, second: int, data: bytes) -> None:
        if command == CNXN or (command == AUTH and first in (_SIGNATURE, _PUBLIC_KEY)):
            self._greet(waits_for_the_user=command == AUTH and first == _PUBLIC_KEY)
        elif command == OPEN:
            self._open(first, data.rstrip(b"\0").decode())
        elif second in self._streams:
            stream = self._streams[second]
            if command == WRTE:
                stream.feed(data)
                self.send(OKAY, second, first)
            elif command == OKAY:
                stream.acknowledged()
            elif command == CLSE:
                stream.ended()
                del self._streams[second]

    def _greet(self, *, waits_for_the_user: bool) -> None:
        if self._authorised():
            self.send(CNXN, VERSION, MAX_DATA, self._banner())
        elif not waits_for_the_user:
            self.send(AUTH, _TOKEN, 0, bytes(range(20)))

    def _open(self, remote: int, service: str) -> None:
        stream = Stream(self, self._next, remote)
        self._next += 1
        self._streams[stream.local] = stream
        self.send(OKAY, stream.local, remote)
        threading.Thread(target=self._run_service, args=(service, stream), daemon=True).start()

    def _run_service(self, service: str, stream: Stream) -> None:
        with contextlib.suppress(StreamClosed, OSError):
            self._serve(service, stream)
        stream.close()
