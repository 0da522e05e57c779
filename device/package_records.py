"""Layout of ``model.actpkg``: constants and fixed-size records, declared once for Python and for C.

The file is little-endian::

    header | strings | programs | buffers | kernels | steps | arguments | io | metadata | input | output | weights

Each section starts at a multiple of 64 bytes. ``strings`` is a pool of UTF-8 texts, each followed by a zero byte;
records point into it by offset and length. ``programs`` holds what runs on the device, each at a multiple of 4 bytes:
OpenCL C with a zero behind it, or SPIR-V. ``c_header`` turns the same declarations into the header that the C runtime
is compiled against, so the two sides cannot drift apart.
"""

import struct
from dataclasses import dataclass
from typing import Final

MAGIC: Final = b"ACTPKG\r\n"  # the line ending shows a file that went through a text-mode copy
FORMAT_VERSION: Final = 2
SECTION_ALIGNMENT: Final = 64

BACKENDS: Final = {"opencl": 1, "vulkan": 2}
ROLES: Final = {"input": 0, "output": 1, "weight": 2, "activation": 3}
DTYPES: Final = {"float32": 0, "int32": 1, "float16": 2}
DTYPE_BYTES: Final = {"float32": 4, "int32": 4, "float16": 2}
STORAGES: Final = {"buffer": 0, "image": 1}
TEXEL_VALUES: Final = 4
MAX_IMAGE_SIZE: Final = 65536  # of each side, in texels; a device's own limit is smaller
SPIRV_MAGIC: Final = b"\x03\x02\x23\x07"
SECTIONS: Final = (
    "strings",
    "programs",
    "buffers",
    "kernels",
    "steps",
    "arguments",
    "io",
    "metadata",
    "verification_input",
    "verification_output",
    "weights",
)

MAX_RANK: Final = 8
MAX_RECORDS: Final = 65536
MAX_IO: Final = 64  # inputs, and outputs
MAX_STEP_ARGUMENTS: Final = 128  # what TVM emits at most
MAX_ALIGNMENT: Final = 65536
MAX_METADATA_BYTES: Final = 16 << 20
MAX_TEXT_BYTES: Final = 65535  # a name or options: records may share one, so its length bounds the time to check a file
MAX_GLOBAL_SIZE: Final = 1 << 31
MAX_LOCAL_SIZE: Final = 4096

_C_TYPES: Final = {"B": "uint8_t", "I": "uint32_t", "Q": "uint64_t", "d": "double"}


@dataclass(frozen=True)
class Record:
    """One fixed-size little-endian record: fields of (name, struct code, count), with no hidden padding."""

    name: str
    fields: tuple[tuple[str, str, int], ...]

    @property
    def format(self) -> str:
        """Format for the ``struct`` module; a byte array is one ``bytes`` value."""
        return "<" + "".join(f"{n}s" if code == "B" and n > 1 else f"{n}{code}" for _, code, n in self.fields)

    @property
    def size(self) -> int:
        """Bytes of one record."""
        return struct.calcsize(self.format)

    def c_struct(self) -> str:
        """The same record as a C struct, with assertions that the compiler lays it out alike."""
        lines, checks, offset = [], [], 0
        for name, code, count in self.fields:
            lines.append(f"  {_C_TYPES[code]} {name}{f'[{count}]' if count > 1 else ''};")
            checks.append(f'_Static_assert(offsetof({self.name}, {name}) == {offset}, "{self.name}.{name}");')
            offset += struct.calcsize(f"<{count}{code}")
        checks.append(f'_Static_assert(sizeof({self.name}) == {self.size}, "{self.name}");')
        return "\n".join(["typedef struct {", *lines, f"}} {self.name};", *checks])


SECTION = Record("act_file_section", (("offset", "Q", 1), ("size", "Q", 1)))
# The header's last field is the CRC-32 of all header bytes before it; `body_*` cover every byte after the header.
HEADER = Record(
    "act_file_header",
    (
        ("magic", "B", 8),
        ("version", "I", 1),
        ("header_bytes", "I", 1),
        ("file_bytes", "Q", 1),
        ("arena_bytes", "Q", 1),
        ("backend", "I", 1),
        ("target_offset", "I", 1),
        ("target_length", "I", 1),
        ("buffer_count", "I", 1),
        ("kernel_count", "I", 1),
        ("step_count", "I", 1),
        ("argument_count", "I", 1),
        ("input_count", "I", 1),
        ("output_count", "I", 1),
        ("reserved", "I", 1),
        ("sections", "Q", 2 * len(SECTIONS)),
        ("body_sha256", "B", 32),
        ("body_crc32", "I", 1),
        ("header_crc32", "I", 1),
    ),
)
BUFFER = Record(
    "act_file_buffer",
    (
        ("name_offset", "I", 1),
        ("name_length", "I", 1),
        ("role", "B", 1),
        ("dtype", "B", 1),
        ("storage", "B", 1),
        ("rank", "B", 1),
        ("alignment", "I", 1),
        ("offset", "Q", 1),
        ("size_bytes", "Q", 1),
        ("shape", "I", MAX_RANK),
    ),
)
KERNEL = Record(
    "act_file_kernel",
    (
        ("name_offset", "I", 1),
        ("name_length", "I", 1),
        ("program_offset", "I", 1),
        ("program_length", "I", 1),
        ("options_offset", "I", 1),
        ("options_length", "I", 1),
    ),
)
STEP = Record(
    "act_file_step",
    (
        ("kernel", "I", 1),
        ("first_argument", "I", 1),
        ("argument_count", "I", 1),
        ("operator_offset", "I", 1),
        ("operator_length", "I", 1),
        ("reserved", "I", 1),
        ("global_size", "I", 3),
        ("local_size", "I", 3),
        ("macs", "Q", 1),
        ("bytes", "Q", 1),
        ("modelled_us", "d", 1),
    ),
)


def c_header() -> str:
    """Text of ``act_package.h``: the constants, enumerations and record layouts of the format for the C runtime."""
    constants = {
        "ACT_FORMAT_VERSION": FORMAT_VERSION,
        "ACT_SECTION_ALIGNMENT": SECTION_ALIGNMENT,
        "ACT_TEXEL_VALUES": TEXEL_VALUES,
        "ACT_MAX_IMAGE_SIZE": MAX_IMAGE_SIZE,
        "ACT_MAX_RANK": MAX_RANK,
        "ACT_MAX_RECORDS": MAX_RECORDS,
        "ACT_MAX_IO": MAX_IO,
        "ACT_MAX_STEP_ARGUMENTS": MAX_STEP_ARGUMENTS,
        "ACT_MAX_ALIGNMENT": MAX_ALIGNMENT,
        "ACT_MAX_METADATA_BYTES": MAX_METADATA_BYTES,
        "ACT_MAX_TEXT_BYTES": MAX_TEXT_BYTES,
        "ACT_MAX_GLOBAL_SIZE": MAX_GLOBAL_SIZE,
        "ACT_MAX_LOCAL_SIZE": MAX_LOCAL_SIZE,
        "ACT_SECTION_COUNT": len(SECTIONS),
        **{f"ACT_SECTION_{name.upper()}": index for index, name in enumerate(SECTIONS)},
        **{f"ACT_BACKEND_{name.upper()}": code for name, code in BACKENDS.items()},
        **{f"ACT_ROLE_{name.upper()}": code for name, code in ROLES.items()},
        **{f"ACT_DTYPE_{name.upper()}": code for name, code in DTYPES.items()},
        **{f"ACT_STORAGE_{name.upper()}": code for name, code in STORAGES.items()},
    }
    magic = ", ".join(str(byte) for byte in MAGIC)
    sizes = ", ".join(str(DTYPE_BYTES[name]) for name in DTYPES)
    return "\n".join(
        [
            "/* Generated from device/package_records.py: the layout of model.actpkg. Do not edit. */",
            "#ifndef ACT_PACKAGE_H",
            "#define ACT_PACKAGE_H",
            "#include <stddef.h>",
            "#include <stdint.h>",
            "#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__",
            '#error "model.actpkg is little-endian; this machine is not"',
            "#endif",
            *(f"#define {name} {value}u" for name, value in constants.items()),
            f"#define ACT_MAGIC_BYTES {{{magic}}}",
            f"#define ACT_DTYPE_SIZES {{{sizes}}}",
            *(record.c_struct() for record in (SECTION, HEADER, BUFFER, KERNEL, STEP)),
            "#endif",
            "",
        ]
    )
