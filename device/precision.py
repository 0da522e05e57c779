"""Precision of a package: how weights and activations are stored, and how exactly its output is then reproduced.

Arithmetic and accumulation are fp32 in either precision, and a package's inputs and outputs are float32. This module
owns the tolerances of a verification.
"""

from types import MappingProxyType
from typing import Final, Literal, get_args

Precision = Literal["fp32", "fp16"]

PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
STORAGE_DTYPES: Final = MappingProxyType({"fp32": "float32", "fp16": "float16"})
STORAGE_BYTES: Final = MappingProxyType({"fp32": 4, "fp16": 2})
FP16_MAX: Final = 65504.0  # the largest finite half float

# Largest error of a package's output, relative to the largest expected value.
TOLERANCES: Final = MappingProxyType({"fp32": 1e-3, "fp16": 2e-2})


def precision_advice(precision: Precision) -> str:
    """What to do about a wrong output, to end an error with; empty where the precision cannot be the reason."""
    if precision == "fp32":
        return ""
    return (
        f"; the package stores activations as fp16, which overflow above {FP16_MAX:.0f} and keep three digits: "
        "compile with --precision fp32"
    )
