"""Concatenation without copies: who writes straight into its part of the result.

    y = concat(a, b, c)    =>    kernels of a, b and c write to parts of y's memory; y itself is no kernel

Concatenations are looked at from last to first. One whose inputs already lie side by side in a later one (each layer of
a DenseNet reads all features so far) is a part of that later one. An input that cannot be written in place is copied,
and the plan says why. Slices and splits of channels are parts of what they cut and cost nothing either.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import tvm
from tvm import relax

from .activation_layouts import CONCAT, VIEW_OPERATORS, channel_slice, split_axis, static_shape

__all__ = ["ConcatPlan", "Place", "plan_concats"]


@dataclass(frozen=True)
class Place:
    """Where a value lies: a part of ``whole``, another value, from ``start`` on along ``axis``."""

    whole: relax.Var
    axis: int
    start: int


@dataclass(frozen=True, kw_only=True)
class ConcatPlan:
    """The decisions for one network.

    Attributes:
        places: Values that are written straight into a concatenation's result.
        reasons: Why input i of a concatenation is copied, by its variable and i.
    """

    places: dict[relax.Var, Place]
    reasons: dict[tuple[relax.Var, int], str]


def plan_concats(function: relax.Function) -> ConcatPlan:
    """Place the inputs of every concatenation of a function whose other operators are kernels or views."""
    bindings = [binding for block in function.body.blocks for binding in block.bindings]
    planner = _Planner(values={binding.var: binding.value for binding in bindings}, result=function.body.body)
    for binding in reversed(bindings):
        if _operator(binding.value) == CONCAT:
            planner.place(binding.var, binding.value)
    return ConcatPlan(places=planner.places, reasons=planner.reasons)


@dataclass
class _Planner:
    values: dict[relax.Var, relax.Expr]
    result: relax.Expr
    places: dict[relax.Var, Place] = field(default_factory=dict)
    reasons: dict[tuple[relax.Var, int], str] = field(default_factory=dict)
    members: defaultdict[relax.Var, set[relax.Var]] = field(default_factory=lambda: defaultdict(set))

    def place(self, variable: relax.Var, call: relax.Call) -> None:
        """Decide for one concatenation; those that read it are decided."""
        inputs, axis = call.args[0].fields, split_axis(call) or 0
        if self._is_part_already(variable, inputs, axis):
            return
        start = 0
        for index, item in enumerate(inputs):
            reason = self._why_copied(item, variable)
            if reason is None:
                self._put(item, Place(variable, axis, start))
            else:
                self.reasons[variable, index] = reason
            start += static_shape(item)[axis]

    def _is_part_already(self, variable: relax.Var, inputs: Iterable[relax.Expr], axis: int) -> bool:
        """Whether the inputs lie side by side in another concatenation, of which this one then is a part."""
        if variable in self.places or variable.same_as(self.result):
            return False
        found = [self.places.get(item) if isinstance(item, relax.Var) else None for item in inputs]
        first, end = found[0], None
        for item, place in zip(inputs, found, strict=True):
            if first is None or place is None or place.axis != axis or not place.whole.same_as(first.whole):
                return False
            if end is not None and place.start != end:
                return False
            end = place.start + static_shape(item)[axis]
        if first is None or self._meets(variable, self._root(first.whole)):
            return False
        self._put(variable, first)
        return True

    def _why_copied(self, item: relax.Expr, whole: relax.Var) -> str | None:
        if not isinstance(item, relax.Var):
            return "it is a constant"
        value = self.values.get(item)
        if value is None:
            return "it is the network's input"
        if item.same_as(self.result):
            return "it is the network's output"
        if item in self.places:
            return "it lies in another concatenation already"
        if whole.same_as(self.result) and len(static_shape(whole)) == 4:
            return "the network's output has rows of its own"
        if _operator(value) not in ("relax.call_tir", CONCAT) or not isinstance(item.ty, relax.TensorType):
            return "it is a view of another value"
        if self._meets(item, self._root(whole)):
            return "a kernel would read and write the same memory"
        return None

    def _put(self, variable: relax.Var, place: Place) -> None:
        self.places[variable] = place
        self.members[self._root(place.whole)].add(variable)

    def _root(self, variable: relax.Var) -> relax.Var:
        while variable in self.places:
            variable = self.places[variable].whole
        return variable

    def _meets(self, variable: relax.Var, root: relax.Var) -> bool:
        """Whether placing the value in ``root`` would make a kernel read what another work-item of it writes.

        A convolution reads whole vectors, beyond the part that it is given.
        """
        held = self.members[root] | {root}
        own = self._reads(variable)
        return bool(own & held) or any(variable in self._reads(member) for member in held)

    def _reads(self, variable: relax.Var) -> set[relax.Var]:
        """Values whose memory the kernel of a value reads."""
        value = self.values.get(variable)
        if value is None or _operator(value) != "relax.call_tir":
            return set()
        return {self._base(argument) for argument in value.args[1].fields if isinstance(argument, relax.Var)}

    def _base(self, variable: relax.Var) -> relax.Var:
        """The value in whose memory a view lies."""
        while (source := _viewed(self.values.get(variable))) is not None:
            variable = source
        return variable


def _viewed(value: relax.Expr | None) -> relax.Var | None:
    """What a view looks at; None for anything that has memory of its own."""
    if isinstance(value, relax.TupleGetItem):
        source = value.tuple_value
    elif isinstance(value, relax.Var):
        source = value
    elif isinstance(value, relax.Call) and (
        _operator(value) in (*VIEW_OPERATORS, "relax.split") or channel_slice(value) is not None
    ):
        source = value.args[0]
    else:
        return None
    return source if isinstance(source, relax.Var) else None


def _operator(value: relax.Expr | None) -> str:
    if not isinstance(value, relax.Call):
        return ""
    return value.op.name if isinstance(value.op, tvm.ir.Op) else str(value.op)
