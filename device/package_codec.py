"""Packages to bytes and back; the rules are in ``package_checks``, the layouts in ``package_records``."""

import hashlib
import json
import struct
import zlib
from math import prod
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from . import package_records as records
from .package_types import Buffer, DType, Kernel, Package, PackageError, Role, Step, Storage


class _StringPool:
    """Texts of a package, each stored once."""

    def __init__(self) -> None:
        self._offsets: dict[bytes, int] = {}
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, text: str) -> tuple[int, int]:
        """Return (offset, length) of ``text`` in the pool, both in bytes."""
        encoded = text.encode()
        if encoded not in self._offsets:
            self._offsets[encoded] = self._size
            self._chunks.append(encoded + b"\0")
            self._size += len(encoded) + 1
        return self._offsets[encoded], len(encoded)

    def data(self) -> bytes:
        """The whole pool."""
        return b"".join(self._chunks)


class _ProgramPool:
    """Programs of a package, each at a multiple of four bytes; a text with a zero behind it."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, source: str | bytes) -> tuple[int, int]:
        """Return (offset, length) of a program in the pool, both in bytes."""
        offset, content = len(self._data), source if isinstance(source, bytes) else source.encode()
        self._data += content + (b"" if isinstance(source, bytes) else b"\0")
        self._data += bytes(-len(self._data) % 4)
        return offset, len(content)

    def data(self) -> bytes:
        """The whole pool."""
        return bytes(self._data)


def encode(package: Package) -> list[bytes]:
    """The file's bytes for a checked package, in parts: weights may be large, and are not copied."""
    pool, programs = _StringPool(), _ProgramPool()
    target = pool.add(package.target)
    buffers = b"".join(_pack_buffer(buffer, pool) for buffer in package.buffers)
    kernels = b"".join(
        struct.pack(
            records.KERNEL.format, *pool.add(kernel.name), *programs.add(kernel.source), *pool.add(kernel.options)
        )
        for kernel in package.kernels
    )
    steps = bytearray()
    arguments: list[int] = []
    for step in package.steps:
        operator = pool.add(step.source_operator)
        launch = (*step.global_size, *step.local_size, step.macs, step.bytes, step.modelled_us)
        counts = (step.kernel, len(arguments), len(step.arguments), *operator, 0)
        steps += struct.pack(records.STEP.format, *counts, *launch)
        arguments += step.arguments
    document = {"preprocessing": package.preprocessing, "metadata": package.metadata}
    io = (*package.inputs, *package.outputs)
    contents = {
        "strings": pool.data(),
        "programs": programs.data(),
        "buffers": buffers,
        "kernels": kernels,
        "steps": bytes(steps),
        "arguments": struct.pack(f"<{len(arguments)}I", *arguments),
        "io": struct.pack(f"<{len(io)}I", *io),
        "metadata": json.dumps(document, sort_keys=True).encode(),
        "verification_input": np.ascontiguousarray(package.verification_input, dtype="<f4").tobytes(),
        "verification_output": np.ascontiguousarray(package.verification_output, dtype="<f4").tobytes(),
        "weights": package.weights,
    }
    table, body = _lay_out([contents[name] for name in records.SECTIONS])
    digest, checksum, size = hashlib.sha256(), 0, records.HEADER.size
    for part in body:
        digest.update(part)
        checksum, size = zlib.crc32(part, checksum), size + len(part)
    head = struct.pack(
        records.HEADER.format,
        *(records.MAGIC, records.FORMAT_VERSION, records.HEADER.size, size),
        *(package.arena_bytes, records.BACKENDS[package.backend], *target),
        *(len(package.buffers), len(package.kernels), len(package.steps), len(arguments)),
        *(len(package.inputs), len(package.outputs), 0, *table),
        *(digest.digest(), checksum, 0),
    )[:-4]
    return [head, struct.pack("<I", zlib.crc32(head)), *body]


def _lay_out(contents: list[bytes]) -> tuple[list[int], list[bytes]]:
    """Place the sections after the header, each aligned; return the table (offset, size, …) and the body's parts."""
    table: list[int] = []
    body: list[bytes] = []
    end = records.HEADER.size
    for content in contents:
        gap = -end % records.SECTION_ALIGNMENT
        table += [end + gap, len(content)]
        body += [bytes(gap), content]
        end += gap + len(content)
    return table, body


def _pack_buffer(buffer: Buffer, pool: _StringPool) -> bytes:
    shape = (*buffer.shape, *([0] * (records.MAX_RANK - len(buffer.shape))))
    kinds = records.ROLES[buffer.role], records.DTYPES[buffer.dtype], records.STORAGES[buffer.storage]
    codes = (*kinds, len(buffer.shape))
    place = (buffer.alignment, buffer.offset, buffer.size_bytes)
    return struct.pack(records.BUFFER.format, *pool.add(buffer.name), *codes, *place, *shape)


def decode_tables(header: dict[str, Any], sections: dict[str, bytes]) -> Package:
    """The package in checked ``sections``; its values still have to pass ``check_package``.

    Raises:
        PackageError: If a record points outside its table or holds an unknown code.
        ValueError, KeyError, struct.error: If texts or metadata cannot be decoded.
    """
    reader = _Reader(sections)
    buffers = tuple(reader.buffer(index, row) for index, row in enumerate(reader.rows(records.BUFFER, "buffers")))
    io = reader.integers("io")
    inputs, outputs = io[: header["input_count"]], io[header["input_count"] :]
    document = json.loads(sections["metadata"])
    if not isinstance(document, dict) or set(document) != {"preprocessing", "metadata"}:
        raise PackageError("its metadata is not the object that is expected")
    backend = {code: name for name, code in records.BACKENDS.items()}[header["backend"]]
    return Package(
        target=reader.text(header["target_offset"], header["target_length"]),
        backend=backend,
        arena_bytes=header["arena_bytes"],
        buffers=buffers,
        steps=tuple(reader.step(index, row) for index, row in enumerate(reader.rows(records.STEP, "steps"))),
        kernels=tuple(
            Kernel(
                name=reader.text(*row[0:2]),
                source=reader.program(row[2], row[3], backend),
                options=reader.text(*row[4:6]),
            )
            for row in reader.rows(records.KERNEL, "kernels")
        ),
        weights=sections["weights"],
        inputs=inputs,
        outputs=outputs,
        preprocessing=document["preprocessing"],
        metadata=document["metadata"],
        verification_input=_tensors(sections["verification_input"], buffers, inputs),
        verification_output=_tensors(sections["verification_output"], buffers, outputs),
    )


class _Reader:
    """Records of a package's sections as values."""

    def __init__(self, sections: dict[str, bytes]) -> None:
        self._sections = sections
        self._arguments = self.integers("arguments")

    def rows(self, record: records.Record, name: str) -> list[tuple[Any, ...]]:
        return list(struct.iter_unpack(record.format, self._sections[name]))

    def integers(self, name: str) -> tuple[int, ...]:
        data = self._sections[name]
        return struct.unpack(f"<{len(data) // 4}I", data)

    def text(self, offset: int, length: int) -> str:
        pool = self._sections["strings"]
        if offset + length >= len(pool) or pool[offset + length] != 0:
            raise PackageError(f"text at {offset} of {length} bytes is outside the string table of {len(pool)} bytes")
        return pool[offset : offset + length].decode()

    def program(self, offset: int, length: int, backend: str) -> str | bytes:
        pool, is_text = self._sections["programs"], backend == "opencl"
        if offset % 4 or offset + length + is_text > len(pool):
            raise PackageError(f"program at {offset} of {length} bytes is misaligned or outside {len(pool)} bytes")
        content = pool[offset : offset + length]
        if is_text and pool[offset + length] != 0:
            raise PackageError(f"source at {offset} of {length} bytes does not end with a zero")
        return content.decode() if is_text else content

    def buffer(self, index: int, row: tuple[Any, ...]) -> Buffer:
        name_offset, name_length, role, dtype, storage, rank, alignment, offset, size_bytes, *shape = row
        if role >= len(records.ROLES) or dtype >= len(records.DTYPES) or storage >= len(records.STORAGES):
            raise PackageError(f"buffer {index} has unknown role {role}, type {dtype} or storage {storage}")
        if rank > records.MAX_RANK:
            raise PackageError(f"buffer {index} has rank {rank}, at most {records.MAX_RANK} is allowed")
        return Buffer(
            name=self.text(name_offset, name_length),
            role=cast(Role, tuple(records.ROLES)[role]),
            dtype=cast(DType, tuple(records.DTYPES)[dtype]),
            shape=tuple(shape[:rank]),
            offset=offset,
            size_bytes=size_bytes,
            alignment=alignment,
            storage=cast(Storage, tuple(records.STORAGES)[storage]),
        )

    def step(self, index: int, row: tuple[Any, ...]) -> Step:
        kernel, first, count, operator_offset, operator_length, _ = row[:6]
        if first + count > len(self._arguments):
            end, limit = first + count, len(self._arguments)
            raise PackageError(f"step {index} has arguments {first} to {end}, the table has {limit}")
        return Step(
            kernel=kernel,
            arguments=self._arguments[first : first + count],
            global_size=cast(tuple[int, int, int], row[6:9]),
            local_size=cast(tuple[int, int, int], row[9:12]),
            macs=row[12],
            bytes=row[13],
            modelled_us=row[14],
            source_operator=self.text(operator_offset, operator_length),
        )


def _tensors(data: bytes, buffers: tuple[Buffer, ...], indices: tuple[int, ...]) -> NDArray[np.float32]:
    """Verification data in its buffer's shape; flat where there are several (sizes are checked later)."""
    values = np.frombuffer(data, dtype="<f4").astype(np.float32)
    if len(indices) == 1 and indices[0] < len(buffers) and prod(buffers[indices[0]].shape) == values.size:
        return values.reshape(buffers[indices[0]].shape)
    return values
