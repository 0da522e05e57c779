"""Vectors of TIR in GLSL, which has none longer than four: a value is a list of parts.

    float32x8   =>   vec4, vec4          int32x6   =>   ivec4, ivec2

Operations between values of equal length are operations between their parts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from ..errors import CompileError

__all__ = ["GlslType", "Value", "broadcast", "float_literal", "gather", "glsl_type", "int_literal", "map_parts"]

PART_LANES = 4
_ELEMENTS: Final = MappingProxyType(
    {"float32": "float", "int32": "int", "uint32": "uint", "bool": "bool", "float16": "float16_t"}
)
_VECTORS: Final = MappingProxyType(
    {"float": "vec", "int": "ivec", "uint": "uvec", "bool": "bvec", "float16_t": "f16vec"}
)
_DTYPE = re.compile(r"([a-z]+\d*)(?:x(\d+))?")


@dataclass(frozen=True)
class GlslType:
    """Element type and number of lanes."""

    element: str
    lanes: int = 1

    @property
    def part_lanes(self) -> tuple[int, ...]:
        """Lanes of each part."""
        whole, rest = divmod(self.lanes, PART_LANES)
        return (PART_LANES,) * whole + ((rest,) if rest else ())

    @property
    def part_types(self) -> tuple[str, ...]:
        """GLSL's name of each part's type."""
        return tuple(self.element if lanes == 1 else f"{_VECTORS[self.element]}{lanes}" for lanes in self.part_lanes)

    def with_lanes(self, lanes: int) -> GlslType:
        """The same element type in another number."""
        return GlslType(self.element, lanes)

    def with_element(self, element: str) -> GlslType:
        """The same length of another element type."""
        return GlslType(element, self.lanes)


@dataclass(frozen=True)
class Value:
    """An expression: GLSL text of each part."""

    type: GlslType
    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        """The text of a value with one part."""
        assert len(self.parts) == 1, f"{self.type} has {len(self.parts)} parts"
        return self.parts[0]

    def lane(self, index: int) -> str:
        """Text of one element; parts should be names, since their text is repeated."""
        part, position = divmod(index, PART_LANES)
        return self.parts[part] if self.type.part_lanes[part] == 1 else f"{self.parts[part]}.{'xyzw'[position]}"

    def elements(self) -> list[str]:
        """Texts of all elements."""
        return [self.lane(index) for index in range(self.type.lanes)]


def glsl_type(dtype: str) -> GlslType:
    """The type of a TVM dtype such as ``float32x8``.

    Raises:
        CompileError: If GLSL has no such type, or not without an extension.
    """
    match = _DTYPE.fullmatch(dtype)
    if match is None or match[1] not in _ELEMENTS:
        raise CompileError(f"type {dtype} has no kernel for Vulkan; {', '.join(_ELEMENTS)} have")
    return GlslType(_ELEMENTS[match[1]], int(match[2] or 1))


def map_parts(type_: GlslType, make: Callable[..., str], *values: Value) -> Value:
    """Combine the parts of values of one length."""
    return Value(type_, tuple(make(*parts) for parts in zip(*(value.parts for value in values), strict=True)))


def gather(type_: GlslType, elements: list[str]) -> Value:
    """A value of these elements."""
    parts, start = [], 0
    for lanes, name in zip(type_.part_lanes, type_.part_types, strict=True):
        chosen = elements[start : start + lanes]
        parts.append(chosen[0] if lanes == 1 else f"{name}({', '.join(chosen)})")
        start += lanes
    return Value(type_, tuple(parts))


def broadcast(type_: GlslType, element: str) -> Value:
    """The same element in every lane."""
    return Value(
        type_,
        tuple(
            element if lanes == 1 else f"{name}({element})"
            for lanes, name in zip(type_.part_lanes, type_.part_types, strict=True)
        ),
    )


def float_literal(value: float) -> str:
    """A float32 constant, exactly."""
    if math.isnan(value):
        return "uintBitsToFloat(0x7fc00000u)"
    if math.isinf(value):
        return f"uintBitsToFloat(0x{'7f' if value > 0 else 'ff'}800000u)"
    text = f"{np.float32(value):.9g}"
    text = text if any(character in text for character in ".e") else f"{text}.0"
    return f"({text})" if value < 0 else text


def int_literal(value: int) -> str:
    """An int32 constant."""
    if value == -(1 << 31):
        return "(-2147483647 - 1)"
    return f"({value})" if value < 0 else str(value)
