"""Names and arrays of a GLSL function while it is written.

Loads from buffers that the kernel does not write are given a name at their first use in a block, and used again in it:
a vector that several filters multiply is loaded once, whatever the driver's compiler can prove.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import tvm

from ..errors import CompileError
from .glsl_values import GlslType, Value, glsl_type

__all__ = ["Scope", "Storage", "type_of"]

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SIMPLE = re.compile(r"\(?-?[\w.]+\)?(?:\.[xyzw])?")


@dataclass(frozen=True, kw_only=True)
class Storage:
    """An array in GLSL: a buffer of the kernel, private, or shared by a work-group.

    Attributes:
        name: In GLSL.
        type: Of one element of the TIR buffer, which may be a vector.
        constant: Whether the kernel never writes it.
        quads: Name of its declaration as an array of vectors of four; None if it has none.
        elements: Its length, where it has such a declaration.
        texels: Whether it is read through texel buffers.
    """

    name: str
    type: GlslType
    constant: bool
    quads: str | None = None
    elements: int = 0
    texels: bool = False

    @property
    def value_element(self) -> str:
        """Element type of what is loaded: half floats exist in memory alone, where no device must compute in them."""
        return "float" if self.type.element == "float16_t" else self.type.element

    def element(self, index: str) -> str:
        """GLSL of one element."""
        return f"texelFetch({self.name}, {index}).x" if self.texels else f"{self.name}[{index}]"

    def quad(self, index: str) -> str:
        """GLSL of one vector of four, where it has such a declaration."""
        return f"texelFetch({self.quads}, {index})" if self.texels else f"{self.quads}[{index}]"

    def loaded(self, text: str, lanes: int = 1) -> str:
        """GLSL of an element, or of a vector of them, that is loaded."""
        return f"{GlslType('float', lanes).part_types[0]}({text})" if self.type.element == "float16_t" else text

    def stored(self, text: str, lanes: int = 1) -> str:
        """GLSL of a value, or of a vector, that is stored."""
        return f"{GlslType('float16_t', lanes).part_types[0]}({text})" if self.type.element == "float16_t" else text


@dataclass
class Scope:
    """What is defined where the next expression is written; a new definition is handed to ``emit``.

    Attributes:
        emit: Receives lines of the current block.
        names: GLSL names of variables.
        storages: Arrays by their buffer or pointer variable.
        helpers: Functions that the program must define.
        used: Arrays, and arrays of vectors, that are loaded from.
        known: Names of loads in the open blocks, by their text, the innermost block last.
    """

    emit: Callable[[str], None]
    names: dict[tvm.ir.Var, str] = field(default_factory=dict)
    storages: dict[tvm.ir.Var, Storage] = field(default_factory=dict)
    helpers: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    known: list[dict[str, str]] = field(default_factory=lambda: [{}])
    _count: int = 0

    def fresh(self, hint: str) -> str:
        """A new name like ``hint``."""
        self._count += 1
        stem = re.sub(r"[\W_]+", "_", hint, flags=re.ASCII).strip("_") or "v"
        return f"{stem}_{self._count}"

    def named(self, value: Value) -> Value:
        """The same value with parts that may be repeated: names, or so short that they need none."""
        parts = [
            text if _SIMPLE.fullmatch(text) else self._name(name, text)
            for name, text in zip(value.type.part_types, value.parts, strict=True)
        ]
        return Value(value.type, tuple(parts))

    def shared(self, value: Value) -> Value:
        """Like `named`, and the same text gets the same name as long as its block is open."""
        written = {storage.name for storage in self.storages.values() if not storage.constant}
        parts = []
        for type_, text in zip(value.type.part_types, value.parts, strict=True):
            if not written.isdisjoint(_NAME.findall(text)):  # the next load may find something else
                return self.named(value)
            found = next((block[text] for block in reversed(self.known) if text in block), None)
            if found is None:
                found = text if _SIMPLE.fullmatch(text) else self._name(type_, text)
                self.known[-1][text] = found
            parts.append(found)
        return Value(value.type, tuple(parts))

    def named_variable(self, name: str, type_: GlslType) -> Value:
        """A variable: one for each part."""
        count = len(type_.part_types)
        return Value(type_, (name,) if count == 1 else tuple(f"{name}_{part}" for part in range(count)))

    def storage(self, variable: tvm.ir.Var) -> Storage:
        """The array behind a buffer variable."""
        if variable not in self.storages:
            raise CompileError(f"buffer {variable.name!r} is not declared before it is used")
        return self.storages[variable]

    def _name(self, type_: str, text: str) -> str:
        name = self.fresh("t")
        self.emit(f"{type_} {name} = {text};")
        return name


def type_of(expr: tvm.ir.Expr) -> GlslType:
    """The type of an expression; halves are floats as soon as they are loaded."""
    type_ = glsl_type(str(expr.ty.dtype))
    return type_.with_element("float") if type_.element == "float16_t" else type_
