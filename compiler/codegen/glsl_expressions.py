"""Expressions of a lowered device function in GLSL.

Loads from buffers that the kernel does not write are given a name at their first use in a block, and used again in it:
a vector that several filters multiply is loaded once, whatever the driver's compiler can prove.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import tvm
from tvm import tirx

from ..errors import CompileError
from .glsl_functions import call_text
from .glsl_quads import QUAD, Address, split_address, split_constant
from .glsl_values import GlslType, Value, broadcast, float_literal, gather, glsl_type, int_literal, map_parts

__all__ = ["Expressions", "Storage", "type_of"]

_ARITHMETIC: Final = MappingProxyType({"Add": "+", "Sub": "-", "Mul": "*", "Div": "/"})
_COMPARISONS: Final = MappingProxyType(
    {
        "EQ": ("==", "equal"),
        "NE": ("!=", "notEqual"),
        "LT": ("<", "lessThan"),
        "LE": ("<=", "lessThanEqual"),
        "GT": (">", "greaterThan"),
        "GE": (">=", "greaterThanEqual"),
    }
)
_BITS: Final = MappingProxyType(
    {
        "LShift": "<<",
        "RShift": ">>",
        "BitwiseAnd": "&",
        "BitwiseOr": "|",
        "BitwiseXor": "^",
        "shift_left": "<<",
        "shift_right": ">>",
        "bitwise_and": "&",
        "bitwise_or": "|",
        "bitwise_xor": "^",
    }
)
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
    """

    name: str
    type: GlslType
    constant: bool
    quads: str | None = None
    elements: int = 0

    @property
    def value_element(self) -> str:
        """Element type of what is loaded: half floats exist in memory alone, where no device must compute in them."""
        return "float" if self.type.element == "float16_t" else self.type.element

    def loaded(self, text: str, lanes: int = 1) -> str:
        """GLSL of an element, or of a vector of them, that is loaded."""
        return f"{GlslType('float', lanes).part_types[0]}({text})" if self.type.element == "float16_t" else text

    def stored(self, text: str, lanes: int = 1) -> str:
        """GLSL of a value, or of a vector, that is stored."""
        return f"{GlslType('float16_t', lanes).part_types[0]}({text})" if self.type.element == "float16_t" else text


@dataclass
class Expressions:
    """Turns expressions into GLSL; what needs a statement of its own is handed to ``emit``.

    Attributes:
        emit: Receives lines of the current block.
        names: GLSL names of variables.
        storages: Arrays by their buffer or pointer variable.
        helpers: Functions that the program must define.
        quads: Arrays of vectors that the program must declare.
        known: Names of loads in the open blocks, by their text, the innermost block last.
    """

    emit: Callable[[str], None]
    names: dict[tvm.ir.Var, str] = field(default_factory=dict)
    storages: dict[tvm.ir.Var, Storage] = field(default_factory=dict)
    helpers: set[str] = field(default_factory=set)
    quads: set[str] = field(default_factory=set)
    known: list[dict[str, str]] = field(default_factory=lambda: [{}])
    _count: int = 0

    def fresh(self, hint: str) -> str:
        """A new name like ``hint``."""
        self._count += 1
        stem = re.sub(r"[\W_]+", "_", hint, flags=re.ASCII).strip("_") or "v"
        return f"{stem}_{self._count}"

    def value(self, expr: tvm.ir.Expr) -> Value:
        """GLSL of an expression.

        Raises:
            CompileError: If it has no form in GLSL; names the construct.
        """
        kind = type(expr).__name__
        if kind in _ARITHMETIC:
            return self._binary(expr, f"({{}} {_ARITHMETIC[kind]} {{}})")
        if kind in _COMPARISONS:
            return self._comparison(expr, *_COMPARISONS[kind])
        if kind in _BITS:
            return self._binary(expr, f"({{}} {_BITS[kind]} {{}})")
        method = getattr(self, f"_visit_{kind.lower()}", None)
        if method is None:
            raise CompileError(f"TIR construct {kind!r} has no form in GLSL")
        result: Value = method(expr)
        return result

    def scalar(self, expr: tvm.ir.Expr) -> str:
        """GLSL of an expression without lanes."""
        return self.value(expr).text

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

    def storage(self, variable: tvm.ir.Var) -> Storage:
        """The array behind a buffer variable."""
        if variable not in self.storages:
            raise CompileError(f"buffer {variable.name!r} is not declared before it is used")
        return self.storages[variable]

    def _name(self, type_: str, text: str) -> str:
        name = self.fresh("t")
        self.emit(f"{type_} {name} = {text};")
        return name

    def _binary(self, expr: tvm.ir.Expr, form: str) -> Value:
        return map_parts(type_of(expr), form.format, self.value(expr.a), self.value(expr.b))

    def _comparison(self, expr: tvm.ir.Expr, operator: str, function: str) -> Value:
        a, b = self.value(expr.a), self.value(expr.b)
        form = f"({{}} {operator} {{}})" if a.type.lanes == 1 else f"{function}({{}}, {{}})"
        return map_parts(a.type.with_element("bool"), form.format, a, b)

    def _visit_var(self, expr: tvm.ir.Var) -> Value:
        if expr not in self.names:
            raise CompileError(f"variable {expr.name!r} is used before it is defined")
        return self.named_variable(self.names[expr], type_of(expr))

    def named_variable(self, name: str, type_: GlslType) -> Value:
        """A variable: one for each part."""
        count = len(type_.part_types)
        return Value(type_, (name,) if count == 1 else tuple(f"{name}_{part}" for part in range(count)))

    def _visit_intimm(self, expr: tirx.IntImm) -> Value:
        type_ = type_of(expr)
        if type_.element == "bool":
            return Value(type_, ("true" if int(expr.value) else "false",))
        return Value(type_, (int_literal(int(expr.value)) + ("u" if type_.element == "uint" else ""),))

    def _visit_floatimm(self, expr: tirx.FloatImm) -> Value:
        return Value(type_of(expr), (float_literal(float(expr.value)),))

    def _visit_max(self, expr: tirx.Max) -> Value:
        return self._binary(expr, "max({}, {})")

    def _visit_min(self, expr: tirx.Min) -> Value:
        return self._binary(expr, "min({}, {})")

    def _visit_mod(self, expr: tirx.Mod) -> Value:
        """The remainder of a division towards zero, which GLSL's ``%`` is not for negative numbers."""
        a, b = self.named(self.value(expr.a)), self.named(self.value(expr.b))
        return map_parts(a.type, "({0} - {0} / {1} * {1})".format, a, b)

    def _visit_floordiv(self, expr: tirx.FloorDiv) -> Value:
        a, b = self.named(self.value(expr.a)), self.named(self.value(expr.b))
        if a.type.lanes > 1:
            raise CompileError("TIR construct 'FloorDiv' of vectors has no form in GLSL")
        quotient, (x, y) = f"{a.text} / {b.text}", (a.text, b.text)
        return Value(a.type, (f"({quotient} - int({quotient} * {y} != {x} && ({x} < 0) != ({y} < 0)))",))

    def _visit_floormod(self, expr: tirx.FloorMod) -> Value:
        a, b = self.named(self.value(expr.a)), self.named(self.value(expr.b))
        rest = self.named(map_parts(a.type, "({0} - {0} / {1} * {1} + {1})".format, a, b))
        return map_parts(a.type, "({0} - {0} / {1} * {1})".format, rest, b)

    def _visit_and(self, expr: tirx.And) -> Value:
        return self._logical(expr, "&&", "&")

    def _visit_or(self, expr: tirx.Or) -> Value:
        return self._logical(expr, "||", "|")

    def _logical(self, expr: tirx.And | tirx.Or, operator: str, bits: str) -> Value:
        a, b = self.value(expr.a), self.value(expr.b)
        if a.type.lanes == 1:
            return Value(a.type, (f"({a.text} {operator} {b.text})",))
        parts = tuple(
            f"bvec{lanes}(uvec{lanes}({x}) {bits} uvec{lanes}({y}))"
            for lanes, x, y in zip(a.type.part_lanes, a.parts, b.parts, strict=True)
        )
        return Value(a.type, parts)

    def _visit_not(self, expr: tirx.Not) -> Value:
        a = self.value(expr.a)
        return map_parts(a.type, ("(!{})" if a.type.lanes == 1 else "not({})").format, a)

    def _visit_select(self, expr: tirx.Select) -> Value:
        condition, yes, no = (self.value(e) for e in (expr.condition, expr.true_value, expr.false_value))
        if condition.type.lanes == 1:
            test = self.named(condition).text
            return map_parts(yes.type, lambda a, b: f"({test} ? {a} : {b})", yes, no)
        return map_parts(yes.type, "mix({1}, {0}, {2})".format, yes, no, condition)

    def _visit_cast(self, expr: tirx.Cast) -> Value:
        inner, type_ = self.value(expr.value), type_of(expr)
        if inner.type == type_:
            return inner
        parts = tuple(f"{name}({text})" for name, text in zip(type_.part_types, inner.parts, strict=True))
        return Value(type_, parts)

    def _visit_ramp(self, expr: tirx.Ramp) -> Value:
        return gather(type_of(expr), self.element_indices(expr))

    def _visit_broadcast(self, expr: tirx.Broadcast) -> Value:
        type_, inner = type_of(expr), self.value(expr.value)
        return broadcast(type_, self.named(inner).text if len(type_.part_types) > 1 else inner.text)

    def _visit_shuffle(self, expr: tirx.Shuffle) -> Value:
        lanes = [lane for vector in expr.vectors for lane in self.named(self.value(vector)).elements()]
        return gather(type_of(expr), [lanes[int(index)] for index in expr.indices])

    def _visit_let(self, expr: tirx.Let) -> Value:
        self.bind(expr.var, expr.value)
        return self.value(expr.body)

    def bind(self, variable: tvm.ir.Var, expr: tvm.ir.Expr) -> None:
        """Define a variable."""
        value = self.value(expr)
        self.names[variable] = self.fresh(str(variable.name))
        target = self.named_variable(self.names[variable], value.type)
        for type_, name, text in zip(value.type.part_types, target.parts, value.parts, strict=True):
            self.emit(f"{type_} {name} = {text};")

    def _visit_tensorload(self, expr: tvm.ir.TensorLoad) -> Value:
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
        texts = [storage.loaded(f"{storage.name}[{text}]") for text in indices]
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
        self.quads.add(storage.quads)
        terms = " + ".join(self.scalar(term) for term in address.terms)
        base = self.shared(Value(GlslType("int"), (f"(({terms}) >> 2)",))).text if terms else "0"
        return f"{storage.quads}[{base} + {number}]"

    def vector_elements(self, storage: Storage, index: str) -> Value:
        """Element of an array of vectors: its parts lie side by side."""
        count = len(storage.type.part_types)
        base = index if count == 1 or index.isdigit() else self.named(Value(GlslType("int"), (index,))).text
        where = [base if count == 1 else _offset(base, count, part) for part in range(count)]
        return Value(storage.type, tuple(f"{storage.name}[{text}]" for text in where))

    def _visit_call(self, expr: tvm.ir.Call) -> Value:
        name = str(expr.op.name).rpartition(".")[2]  # without "tirx." or "prim."
        if name == "if_then_else":
            return self._if_then_else(expr)
        if name in _BITS:
            a, b = (self.value(argument) for argument in expr.args)
            return map_parts(type_of(expr), f"({{}} {_BITS[name]} {{}})".format, a, b)
        if name in ("bitwise_not", "likely"):
            inner = self.value(expr.args[0])
            return map_parts(inner.type, "(~{})".format, inner) if name == "bitwise_not" else inner
        if name == "reinterpret":
            return self._reinterpret(expr)
        arguments = list(expr.args)
        if name in ("call_pure_extern", "call_extern"):
            name = str(arguments.pop(0).value)
        return self._function(name, type_of(expr), [self.value(a) for a in arguments])

    def _function(self, name: str, type_: GlslType, arguments: list[Value]) -> Value:
        arguments = [self.named(argument) for argument in arguments]
        parts = tuple(
            call_text(name, lanes, [argument.parts[index] for argument in arguments], self.helpers)
            for index, lanes in enumerate(type_.part_lanes)
        )
        return Value(type_, parts)

    def _reinterpret(self, expr: tvm.ir.Call) -> Value:
        inner, type_ = self.value(expr.args[0]), type_of(expr)
        function = {
            ("float", "int"): "floatBitsToInt",
            ("float", "uint"): "floatBitsToUint",
            ("int", "float"): "intBitsToFloat",
            ("uint", "float"): "uintBitsToFloat",
        }.get((inner.type.element, type_.element))
        if function is None:
            raise CompileError(f"reinterpreting {inner.type.element} as {type_.element} has no form in GLSL")
        return map_parts(type_, f"{function}({{}})".format, inner)

    def _if_then_else(self, expr: tvm.ir.Call) -> Value:
        """Only the chosen side is computed: the other may load from outside its buffer."""
        condition, type_ = self.scalar(expr.args[0]), type_of(expr)
        name = self.fresh("chosen")
        result = self.named_variable(name, type_)
        for part_type, part in zip(type_.part_types, result.parts, strict=True):
            self.emit(f"{part_type} {part};")
        for opening, side in ((f"if ({condition}) {{", expr.args[1]), ("} else {", expr.args[2])):
            self.emit(opening)
            self.known.append({})
            for part, text in zip(result.parts, self.value(side).parts, strict=True):
                self.emit(f"{part} = {text};")
            self.known.pop()
        self.emit("}")
        return result


def _is_row(index: tvm.ir.Expr) -> bool:
    """Whether an index vector names neighbours."""
    return isinstance(index, tirx.Ramp) and isinstance(index.stride, tirx.IntImm) and int(index.stride) == 1


def _offset(base: str, count: int, part: int) -> str:
    if base.isdigit():
        return str(int(base) * count + part)
    return f"{base} * {count}" + (f" + {part}" if part else "")


def type_of(expr: tvm.ir.Expr) -> GlslType:
    """The type of an expression; halves are floats as soon as they are loaded."""
    type_ = glsl_type(str(expr.ty.dtype))
    return type_.with_element("float") if type_.element == "float16_t" else type_
