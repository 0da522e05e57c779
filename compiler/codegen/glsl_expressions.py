"""Expressions of a lowered device function in GLSL."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import tvm
from tvm import tirx

from ..errors import CompileError
from .glsl_functions import call_text
from .glsl_loads import Loads
from .glsl_scope import type_of
from .glsl_values import GlslType, Value, broadcast, float_literal, gather, int_literal, map_parts

__all__ = ["Expressions"]

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


@dataclass
class Expressions(Loads):
    """Turns expressions into GLSL; what needs a statement of its own is handed to ``emit``."""

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

    def _visit_tensorload(self, expr: tvm.ir.TensorLoad) -> Value:
        return self.load(expr)

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
