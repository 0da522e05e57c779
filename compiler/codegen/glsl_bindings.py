"""Bindings of a kernel's buffers in GLSL: its arguments in their order, as arrays and as arrays of vectors of four.

    layout(std430, set = 0, binding = 0) readonly restrict buffer B0 { float a0[]; };
    layout(std430, set = 0, binding = 0) readonly restrict buffer Q0 { vec4 a0_quads[]; };

Where a target wants it, what the kernel only reads are texel buffers instead. A program does not say how many values
their texels have, so the binding does: from `QUAD_BINDINGS` on, it is a second binding of an argument, with four.

    layout(set = 0, binding = 0) uniform samplerBuffer a0;
    layout(set = 0, binding = 128) uniform samplerBuffer a0_quads;

Halves stay in storage buffers: loaded from texels they are floats, and no program would say what they are in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from .glsl_quads import QUAD
from .glsl_scope import Storage
from .glsl_values import GlslType

__all__ = ["QUAD_BINDINGS", "Binding", "has_texels"]

# As in act_spirv.h.
QUAD_BINDINGS = 128
_SAMPLERS: Final = MappingProxyType({"float": "samplerBuffer", "int": "isamplerBuffer"})


@dataclass(frozen=True, kw_only=True)
class Binding:
    """One argument of a kernel, and where it is bound."""

    index: int
    storage: Storage

    def declarations(self, used: set[str]) -> list[str]:
        """GLSL of the declarations that are needed: at least one, so that bindings have no gap."""
        declare = self._texels if self.storage.texels else self._array
        has_quads = self.storage.quads in used
        has_values = not self.storage.texels or self.storage.name in used or not has_quads
        return [declare(quads=quads) for quads, needed in ((False, has_values), (True, has_quads)) if needed]

    def _array(self, *, quads: bool) -> str:
        access = "readonly restrict buffer" if self.storage.constant else "buffer"
        element = self.storage.type.element
        type_ = GlslType(element, QUAD).part_types[0] if quads else element
        name = self.storage.quads if quads else self.storage.name
        block = f"{'Q' if quads else 'B'}{self.index}"
        return f"layout(std430, set = 0, binding = {self.index}) {access} {block} {{ {type_} {name}[]; }};"

    def _texels(self, *, quads: bool) -> str:
        binding = self.index + (QUAD_BINDINGS if quads else 0)
        name = self.storage.quads if quads else self.storage.name
        return f"layout(set = 0, binding = {binding}) uniform {_SAMPLERS[self.storage.type.element]} {name};"


def has_texels(type_: GlslType, elements: int, *, constant: bool, max_texel_elements: int) -> bool:
    """Whether an argument is read through texel buffers."""
    return constant and type_.element in _SAMPLERS and elements <= max_texel_elements
