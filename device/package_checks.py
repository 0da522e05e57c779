"""What must hold in a package: checksums and sections of the file, then ranges and agreement of its tables.

The C runtime repeats every check that memory safety needs (``runtime/act_package_check.c``); these come with better
messages, and refuse a compiler's mistake before it is written.
"""

import hashlib
import math
import re
import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from . import package_records as records
from .package_types import Buffer, Kernel, Package, PackageError, Step

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ADVICE = "copy it again, or compile the network again"


def check_header(data: bytes, origin: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Check checksums, version and section table; return the header's fields and the bytes of each section.

    Raises:
        PackageError: If the bytes are not a whole, unaltered package of this version.
    """
    if data[: len(records.MAGIC)] != records.MAGIC:
        raise PackageError(f"{origin} is not a package: it does not begin with {records.MAGIC!r}")
    if len(data) < records.HEADER.size:
        raise PackageError(
            f"{origin} is cut short: {len(data)} bytes, its header alone has {records.HEADER.size}; {_ADVICE}"
        )
    header = _unpack_header(data)
    if header["version"] != records.FORMAT_VERSION:
        raise PackageError(
            f"{origin} has format version {header['version']}, this program reads {records.FORMAT_VERSION}: "
            "compile the network again with this version"
        )
    if zlib.crc32(data[: records.HEADER.size - 4]) != header["header_crc32"]:
        raise PackageError(f"{origin} is altered: its header's checksum does not match; {_ADVICE}")
    if len(data) != header["file_bytes"]:
        raise PackageError(
            f"{origin} is cut short or has grown: {len(data)} bytes, its header says {header['file_bytes']}; {_ADVICE}"
        )
    body = memoryview(data)[records.HEADER.size :]
    if zlib.crc32(body) != header["body_crc32"] or hashlib.sha256(body).digest() != header["body_sha256"]:
        raise PackageError(f"{origin} is altered: its contents' checksum does not match; {_ADVICE}")
    if header["header_bytes"] != records.HEADER.size or header["backend"] not in records.BACKENDS.values():
        raise PackageError(
            f"{origin} has an unknown header size {header['header_bytes']} or backend {header['backend']}"
        )
    return header, _check_sections(data, header, origin)


def _unpack_header(data: bytes) -> dict[str, Any]:
    values = iter(struct.unpack_from(records.HEADER.format, data))
    header: dict[str, Any] = {}
    for name, code, count in records.HEADER.fields:
        single = count == 1 or code == "B"
        header[name] = next(values) if single else tuple(next(values) for _ in range(count))
    return header


def _check_sections(data: bytes, header: dict[str, Any], origin: str) -> dict[str, bytes]:
    expected = {
        "buffers": header["buffer_count"] * records.BUFFER.size,
        "kernels": header["kernel_count"] * records.KERNEL.size,
        "steps": header["step_count"] * records.STEP.size,
        "arguments": header["argument_count"] * 4,
        "io": (header["input_count"] + header["output_count"]) * 4,
    }
    sections: dict[str, bytes] = {}
    end = records.HEADER.size
    for index, name in enumerate(records.SECTIONS):
        offset, size = header["sections"][2 * index : 2 * index + 2]
        if offset % records.SECTION_ALIGNMENT or offset < end or offset + size > len(data):
            raise PackageError(f"{origin}: section {name} at {offset} of {size} bytes is outside the file or misplaced")
        if size != expected.get(name, size):
            raise PackageError(f"{origin}: section {name} has {size} bytes, its count asks for {expected[name]}")
        end = offset + size
        sections[name] = data[offset:end]
    return sections


def check_package(package: Package, *, origin: str) -> None:
    """Check that the tables of ``package`` agree with each other.

    Raises:
        PackageError: With ``origin``, the record, its value and what is allowed.
    """
    try:
        _check_counts(package)
        for index, buffer in enumerate(package.buffers):
            _check_buffer(index, buffer, package)
        _check_inputs_and_outputs(package)
        for index, kernel in enumerate(package.kernels):
            _check_kernel(index, kernel, package.backend)
        for index, step in enumerate(package.steps):
            _check_step(index, step, package)
        _check_metadata(package)
    except PackageError as error:
        raise PackageError(f"{origin}: {error}") from None


def _check_counts(package: Package) -> None:
    if package.backend not in records.BACKENDS:
        raise PackageError(f"unknown backend {package.backend!r}, known: {', '.join(records.BACKENDS)}")
    tables = {"buffers": package.buffers, "kernels": package.kernels, "steps": package.steps}
    limits = dict.fromkeys(tables, records.MAX_RECORDS) | {"inputs": records.MAX_IO, "outputs": records.MAX_IO}
    tables |= {"inputs": package.inputs, "outputs": package.outputs}
    for name, table in tables.items():
        if not 1 <= len(table) <= limits[name]:
            raise PackageError(f"{len(table)} {name}, allowed are 1 to {limits[name]}")
    _check_texts(package.target)


def _check_texts(*texts: str, most_bytes: int = records.MAX_TEXT_BYTES) -> None:
    for text in texts:
        if len(text.encode()) > most_bytes:
            raise PackageError(f"a text is longer than {most_bytes} bytes: {text[:40]!r}…")
        if "\0" in text:
            raise PackageError(f"a text holds a zero character: {text[:40]!r}")


def _check_kernel(index: int, kernel: Kernel, backend: str) -> None:
    if not _IDENTIFIER.fullmatch(kernel.name) or not kernel.source:
        raise PackageError(f"kernel {index} needs a C identifier as name and a source, got {kernel.name!r}")
    _check_texts(kernel.name, kernel.options)
    if backend == "opencl":
        if not isinstance(kernel.source, str):
            raise PackageError(f"kernel {index} ({kernel.name}) has a source in bytes, OpenCL C is text")
        _check_texts(kernel.source, most_bytes=(1 << 32) - 1)
    elif not isinstance(kernel.source, bytes) or len(kernel.source) % 4 or kernel.source[:4] != records.SPIRV_MAGIC:
        raise PackageError(f"kernel {index} ({kernel.name}) is no SPIR-V: 32-bit words that begin with 0x07230203")


def _check_buffer(index: int, buffer: Buffer, package: Package) -> None:
    what = f"buffer {index} ({buffer.name})"
    _check_texts(buffer.name)
    if buffer.role not in records.ROLES or buffer.dtype not in records.DTYPES:
        raise PackageError(f"{what} has unknown role {buffer.role!r} or type {buffer.dtype!r}")
    if len(buffer.shape) > records.MAX_RANK or any(not 1 <= size < 1 << 32 for size in buffer.shape):
        raise PackageError(f"{what} has shape {buffer.shape}: up to {records.MAX_RANK} sizes of at least 1 are allowed")
    if buffer.storage not in records.STORAGES:
        raise PackageError(f"{what} has unknown storage {buffer.storage!r}, known: {', '.join(records.STORAGES)}")
    if buffer.storage == "image":
        _check_image(what, buffer, package)
    expected = prod(buffer.shape) * records.DTYPE_BYTES[buffer.dtype]
    if buffer.size_bytes != expected:
        raise PackageError(f"{what} has size_bytes {buffer.size_bytes}, its shape and type need {expected}")
    power = buffer.alignment > 0 and buffer.alignment & (buffer.alignment - 1) == 0
    if not power or buffer.alignment > records.MAX_ALIGNMENT:
        raise PackageError(f"{what} has alignment {buffer.alignment}: a power of two up to {records.MAX_ALIGNMENT}")
    alignment = buffer.alignment if buffer.in_arena else records.DTYPE_BYTES[buffer.dtype]
    if buffer.offset < 0 or buffer.offset % alignment:
        raise PackageError(f"{what} is at offset {buffer.offset}, which is not a multiple of {alignment}")
    limit = package.arena_bytes if buffer.in_arena else len(package.weights)
    if buffer.offset + buffer.size_bytes > limit:
        where = "arena" if buffer.in_arena else "weights"
        raise PackageError(f"{what} ends at {buffer.offset + buffer.size_bytes}, the {where} have {limit} bytes")


def _check_image(what: str, buffer: Buffer, package: Package) -> None:
    if package.backend != "opencl" or buffer.role != "weight" or buffer.dtype == "int32":
        raise PackageError(
            f"{what} is an image: float weights of a package for opencl can be, not {buffer.dtype} as {buffer.role} of "
            f"one for {package.backend}"
        )
    sides, values = buffer.shape[:2], buffer.shape[2:]
    if len(buffer.shape) != 3 or values != (records.TEXEL_VALUES,) or max(sides) > records.MAX_IMAGE_SIZE:
        raise PackageError(
            f"{what} is an image of shape {buffer.shape}: height, width (up to {records.MAX_IMAGE_SIZE} each) and "
            f"{records.TEXEL_VALUES} values a texel are needed"
        )


def _check_inputs_and_outputs(package: Package) -> None:
    checks = (("input", package.inputs, package.verification_input),)
    for role, indices, values in (*checks, ("output", package.outputs, package.verification_output)):
        declared = {index for index, buffer in enumerate(package.buffers) if buffer.role == role}
        if len(set(indices)) != len(indices) or set(indices) != declared:
            raise PackageError(f"{role}s are buffers {list(indices)}, buffers with that role are {sorted(declared)}")
        chosen = [package.buffers[index] for index in indices]
        if any(buffer.dtype != "float32" for buffer in chosen):
            raise PackageError(f"{role}s must be float32, got {[buffer.dtype for buffer in chosen]}")
        expected = sum(prod(buffer.shape) for buffer in chosen)
        if values.size != expected:
            raise PackageError(f"verification_{role} has {values.size} values, the {role}s have {expected}")
        if not np.isfinite(values).all():
            raise PackageError(f"verification_{role} holds NaN or infinite values")


def _check_step(index: int, step: Step, package: Package) -> None:
    what = f"step {index} ({step.source_operator or 'unnamed'})"
    _check_texts(step.source_operator)
    if not 0 <= step.kernel < len(package.kernels):
        raise PackageError(f"{what} uses kernel {step.kernel} of {len(package.kernels)}")
    if not 1 <= len(step.arguments) <= records.MAX_STEP_ARGUMENTS:
        raise PackageError(f"{what} has {len(step.arguments)} arguments, allowed are 1 to {records.MAX_STEP_ARGUMENTS}")
    if any(not 0 <= argument < len(package.buffers) for argument in step.arguments):
        raise PackageError(f"{what} has arguments {list(step.arguments)}, there are {len(package.buffers)} buffers")
    if len(step.global_size) != 3 or len(step.local_size) != 3:
        raise PackageError(f"{what} has sizes {step.global_size} and {step.local_size}, three each are needed")
    for size, group in zip(step.global_size, step.local_size, strict=True):
        if not 1 <= group <= size < records.MAX_GLOBAL_SIZE or size % group:
            raise PackageError(
                f"{what} has global size {size} and work-group size {group}: the second must divide the first"
            )
    if prod(step.local_size) > records.MAX_LOCAL_SIZE:
        raise PackageError(f"{what} has work-groups of {prod(step.local_size)} items, at most {records.MAX_LOCAL_SIZE}")
    if step.macs < 0 or step.bytes < 0 or not (math.isfinite(step.modelled_us) and step.modelled_us >= 0):
        raise PackageError(f"{what} has macs {step.macs}, bytes {step.bytes}, modelled_us {step.modelled_us}")
    _check_overlap(what, [package.buffers[argument] for argument in sorted(set(step.arguments))])


def _check_overlap(what: str, buffers: Sequence[Buffer]) -> None:
    """Refuse two tensors of one launch in the same memory: kernels declare their pointers ``restrict``."""
    arena = sorted((buffer for buffer in buffers if buffer.in_arena), key=lambda buffer: buffer.offset)
    for first, second in pairwise(arena):
        if first.offset + first.size_bytes > second.offset:
            raise PackageError(f"{what} uses {first.name} and {second.name}, which overlap in the arena")


def _check_metadata(package: Package) -> None:
    if not isinstance(package.preprocessing, dict | None):
        raise PackageError("preprocessing must be a JSON object or null")
    pairs = package.metadata.items() if isinstance(package.metadata, dict) else [(None, None)]
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in pairs):
        raise PackageError("metadata must map texts to texts")
