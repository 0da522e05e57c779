"""Loads from arrays in GLSL: element by element, or whole vectors where an address allows it (`glsl_quads`)."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import tirx

from ..errors import CompileError
from .glsl_quads import QUAD, Address, split_address, split_constant
from .glsl_scope import Scope, Storage, type_of
from .glsl_values import GlslType, Value, gather

__all__ = ["Loads"]


@dataclass
class Loads(Scope):
    """Turns loads into GLSL; `Expressions` adds what their addresses are made of."""

    def value(self, expr: tvm.ir.Expr) -> Value:
        """GLSL of an expression."""
        raise NotImplementedError

    def scalar(self, expr: tvm.ir.Expr) -> str:
        """GLSL of an expression without lanes."""
        return self.value(expr).text

    def load(self, expr: tvm.ir.TensorLoad) -> Value:
        """GLSL of what is loaded."""
        if len(expr.indices) != 1:
            raise CompileError(f"a load with {len(expr.indices)} indices has no form in GLSL")
        storage, (index,) = self.storage(expr.source), expr.indices
        lanes = type_of(index).lanes
        if storage.type.lanes > 1 and lanes > 1:
            raise CompileError("a load of several vectors has no form in GLSL")
        if storage.type.lanes > 1:
            return self.vector_elements(storage, self.scalar(index))
        type_ = GlslType(storage.value_element, lanes)
        quads = self._quad_load(storage, index, type_)
        if quads is not None:
            return quads
        indices = [self.scalar(index)] if lanes == 1 else self.element_indices(index)
        self.used.add(storage.name)
        texts = [storage.loaded(storage.element(text)) for text in indices]
        if storage.constant:  # each element by itself: vectors of neighbours overlap
            texts = [self.shared(Value(type_.with_lanes(1), (text,))).text for text in texts]
            return self.shared(gather(type_, texts))
        return gather(type_, texts)

    def _quad_load(self, storage: Storage, index: tvm.ir.Expr, type_: GlslType) -> Value | None:
        """A load from a buffer that is not written, as elements of whole vectors, where the address allows it."""
        if not storage.constant:
            return None
        vectors = self.quad_vectors(storage, index, type_)
        if vectors is not None:
            return self.shared(Value(type_, tuple(storage.loaded(text, QUAD) for text in vectors)))
        address = split_address(index)
        # A vector around one element must not reach beyond the buffer.
        if address is None or type_.lanes > 1 or storage.elements % QUAD:
            return self._neighbours(storage, index, type_)
        number, lane = divmod(address.constant, QUAD)
        text = storage.loaded(self._quad(storage, address, number), QUAD)
        return Value(type_, (self.shared(Value(type_.with_lanes(QUAD), (text,))).lane(lane),))

    def _neighbours(self, storage: Storage, index: tvm.ir.Expr, type_: GlslType) -> Value | None:
        """Near elements at any distance from a whole vector: parts of vectors around them, which loads may share."""
        known = isinstance(index, tirx.Ramp) and isinstance(index.stride, tirx.IntImm)
        if not known or not 0 < int(index.stride) < QUAD or storage.elements % QUAD:
            return None
        address = split_address(index.base)
        if address is None or storage.type.element == "float16_t":
            return None
        found = [divmod(address.constant + lane * int(index.stride), QUAD) for lane in range(type_.lanes)]
        quad = {
            number: self.shared(Value(type_.with_lanes(QUAD), (self._quad(storage, address, number),)))
            for number in dict.fromkeys(number for number, _ in found)
        }
        return self.shared(gather(type_, [quad[number].lane(lane) for number, lane in found]))

    def quad_vectors(self, storage: Storage, index: tvm.ir.Expr, type_: GlslType) -> tuple[str, ...] | None:
        """Whole vectors that are just the elements of an index vector; None if they are none, or may not be."""
        if storage.quads is None or not _is_row(index) or type_.lanes % QUAD:
            return None
        address = split_address(index.base)
        if address is None or address.constant % QUAD:
            return None
        first = address.constant // QUAD
        return tuple(self._quad(storage, address, first + part) for part in range(type_.lanes // QUAD))

    def _quad(self, storage: Storage, address: Address, number: int) -> str:
        assert storage.quads is not None
        self.used.add(storage.quads)
        terms = " + ".join(self.scalar(term) for term in address.terms)
        base = self.shared(Value(GlslType("int"), (f"(({terms}) >> 2)",))).text if terms else "0"
        return storage.quad(f"{base} + {number}")

    def vector_elements(self, storage: Storage, index: str) -> Value:
        """Element of an array of vectors: its parts lie side by side."""
        count = len(storage.type.part_types)
        base = index if count == 1 or index.isdigit() else self.named(Value(GlslType("int"), (index,))).text
        where = [base if count == 1 else _offset(base, count, part) for part in range(count)]
        return Value(storage.type, tuple(f"{storage.name}[{text}]" for text in where))

    def element_indices(self, index: tvm.ir.Expr) -> list[str]:
        """Addresses of the elements that an index vector names."""
        if isinstance(index, tirx.Ramp):
            rest, constant = split_constant(index.base)
            base = self.shared(self.value(rest)).text
            stride, lanes = self.scalar(index.stride), int(index.lanes)
            if stride.isdigit():
                return [f"{base} + {constant + lane * int(stride)}" for lane in range(lanes)]
            return [f"{base} + {constant} + {lane} * {stride}" for lane in range(lanes)]
        return self.named(self.value(index)).elements()


def _is_row(index: tvm.ir.Expr) -> bool:
    """Whether an index vector names neighbours."""
    return isinstance(index, tirx.Ramp) and isinstance(index.stride, tirx.IntImm) and int(index.stride) == 1


def _offset(base: str, count: int, part: int) -> str:
    if base.isdigit():
        return str(int(base) * count + part)
    return f"{base} * {count}" + (f" + {part}" if part else "")
