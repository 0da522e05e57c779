"""The package ``model.actpkg``: everything a device needs to run one compiled network, in one checked file.

This module owns the format: ``write_package``, ``read_package`` and ``c_header``, from which the runtime's C header is
generated (values in ``package_types``, layouts in ``package_records``, rules in ``package_checks``). Kernels are code:
a package is as trusted as a program, but its tables are not trusted: every index, offset and size is checked.
"""

import hashlib
import os
import struct
import tempfile
from pathlib import Path

from .package_checks import check_header, check_package
from .package_codec import decode_tables, encode
from .package_records import c_header
from .package_types import Buffer, Kernel, Package, PackageError, Step

__all__ = [
    "Buffer",
    "Kernel",
    "Package",
    "PackageError",
    "Step",
    "c_header",
    "decode_package",
    "read_package",
    "write_package",
]


def write_package(path: Path | str, package: Package) -> str:
    """Check ``package`` and write it to ``path`` (to a temporary name, then renamed).

    Returns:
        The SHA-256 of the file, hexadecimal.

    Raises:
        PackageError: If the package contradicts itself; nothing is written then.
        OSError: If the file cannot be written; an earlier file of that name stays as it was.
    """
    path = Path(path)
    check_package(package, origin=f"cannot write {path.name}")
    parts, digest = encode(package), hashlib.sha256()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                digest.update(part)
                file.write(part)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return digest.hexdigest()


def read_package(path: Path | str) -> Package:
    """Read and check a package.

    Raises:
        PackageError: If the file is missing, not a package, of another version, cut short, altered, or inconsistent.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PackageError(f"cannot read package {path}: {error.strerror or error}") from error
    return decode_package(data, origin=str(path))


def decode_package(data: bytes, *, origin: str) -> Package:
    """Like :func:`read_package`, from bytes; ``origin`` names them in errors."""
    header, sections = check_header(data, origin)
    try:
        package = decode_tables(header, sections)
    except PackageError as error:
        raise PackageError(f"{origin}: {error}") from None
    except (struct.error, UnicodeDecodeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise PackageError(f"{origin}: unreadable tables ({error}); compile the network again") from error
    check_package(package, origin=origin)
    return package
