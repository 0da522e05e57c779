"""A Relax module becomes a straight line of kernels over tensors.

    decompose, fold -> legalize (`legalize`) -> fuse (TVM) -> per call: layouts, schedule, code (`code_generation`)

Equal functions are built once. Reshapes of plain tensors and slices of channels become views and cost nothing; a
concatenation is written by the kernels of its inputs (`concat_plan`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, tirx

from ..device.precision import STORAGE_DTYPES
from .errors import CompileError, UnsupportedOpError, hear_interrupts
from .images import texels
from .kernel_choice import UNTUNED, TunedKernels
from .kernels import KernelBuilder
from .legalize.gather import find_tables
from .legalize.legalizer import Legalizer, has_computed_weights
from .lowered import LoweredNetwork, LoweredStep, Tensor
from .memory.activation_layouts import (
    CONCAT,
    VIEW_OPERATORS,
    ActivationLayouts,
    channel_slice,
    find_layouts,
    split_axis,
    static_shape,
)
from .memory.concat_plan import ConcatPlan, plan_concats
from .memory.layout import Layout
from .passes.half_range import require_half_range
from .schedules.copy import copy_function
from .targets import Target

__all__ = ["LoweredNetwork", "LoweredStep", "Tensor", "lower"]

# Operators that become one kernel: with two more operands each, they stay below the 128 arguments that it may have.
MAX_FUSED = 60


@hear_interrupts()
def lower(
    module: tvm.IRModule, target: Target, *, names: dict[str, list[str]], tuned: TunedKernels = UNTUNED
) -> LoweredNetwork:
    """Lower a Relax module with one function ``main``, weights as constants.

    Args:
        module: From the importer.
        target: What is compiled for.
        names: Source operators by `legalize.weight_key`; consumed.
        tuned: Kernels that a device chose for this target and precision; the rule decides the others.

    Raises:
        CompileError: If TVM cannot lower an operator.
    """
    passes = relax.transform
    with tvm.ir.transform.PassContext(opt_level=3, config={"relax.FuseOps.max_depth": MAX_FUSED}):
        module = tvm.ir.transform.Sequential([passes.DecomposeOpsForInference(), passes.CanonicalizeBindings()])(module)
        if has_computed_weights(module):  # it compiles every operator on constants, so it is not done for nothing
            module = passes.FoldConstant()(module)
        main = module["main"]
        legalizer = Legalizer(
            target=target,
            layouts=find_layouts(module, target, tuned),
            names=names,
            inputs=frozenset(str(param.name) for param in main.params),
            tables=find_tables(module),
            tuned=tuned,
        )
        module = tvm.ir.transform.Sequential(
            [
                passes.LegalizeOps(legalizer.table()),
                passes.DeadCodeElimination(),
                passes.FoldConstant(),
                passes.AnnotateTIROpPattern(),
                passes.FuseOps(),
                passes.FuseTIR(),
                passes.DeadCodeElimination(),
            ]
        )(module)
    builder = KernelBuilder(target=target, layers=legalizer.layers)
    plan = plan_concats(module["main"])
    return _Line(module, legalizer.layouts, builder, plan, storage=STORAGE_DTYPES[target.precision]).run()


@dataclass
class _Line:
    """Walks the bindings of ``main`` and emits steps."""

    module: tvm.IRModule
    layouts: ActivationLayouts
    builder: KernelBuilder
    plan: ConcatPlan
    storage: str
    steps: list[LoweredStep] = field(default_factory=list)
    values: dict[relax.Var, tuple[Tensor, ...]] = field(default_factory=dict)
    constants: dict[tuple[str, tuple[int, ...], bytes], Tensor] = field(default_factory=dict)
    images: dict[Tensor, Tensor] = field(default_factory=dict)

    def run(self) -> LoweredNetwork:
        main = self.module["main"]
        parameter = main.params[0]
        source = Tensor(
            name=str(parameter.name), role="input", dtype="float32", layout=Layout(shape=_shape(parameter.ty))
        )
        self.values[parameter] = (source,)
        output = Tensor(name="output", role="output", dtype="float32", layout=Layout(shape=_shape(main.body.body.ty)))
        bindings = [binding for block in main.body.blocks for binding in block.bindings]
        if any(binding.var.same_as(main.body.body) for binding in bindings):
            self.values[main.body.body] = (output,)
        for binding in bindings:
            is_result = binding.var.same_as(main.body.body)
            self.values[binding.var] = self._value(binding.var, binding.value, output if is_result else None)
        result = self._single(main.body.body)
        if result is not output:
            self._copy(result, output)
        return LoweredNetwork(steps=tuple(self.steps), input=source, output=output)

    def _value(self, variable: relax.Var, value: relax.Expr, output: Tensor | None) -> tuple[Tensor, ...]:
        """Tensors of a bound value; ``output`` if it is the network's result."""
        if isinstance(value, relax.TupleGetItem):
            return (self._tensors(value.tuple_value)[int(value.index)],)
        if isinstance(value, relax.Tuple):
            return tuple(self._single(item) for item in value.fields)
        if not isinstance(value, relax.Call):
            return self._tensors(value)
        name = value.op.name if isinstance(value.op, tvm.ir.Op) else str(value.op)
        if name == "relax.call_tir":
            return self._call(variable, value, output)
        if name in VIEW_OPERATORS:
            return (self._view(value, variable, output),)
        if name == CONCAT:
            return (self._concat(value, variable),)
        if name == "relax.split":
            return self._split(value)
        first = channel_slice(value)
        if first is not None:
            return (self._part(self._shaped(value.args[0]), 1, first, _shape(value.ty)[1]),)
        raise UnsupportedOpError(f"operator {name!r} has no kernel and no lowering in TVM")

    def _view(self, call: relax.Call, variable: relax.Var, output: Tensor | None) -> Tensor:
        source = self._single(call.args[0])
        layout = self.layouts.of(_shape(variable.ty))
        if output is None and source.role == "activation" and source.layout.is_plain and layout.is_plain:
            return source
        view = output or self._activation(str(variable.name), variable.ty)
        self._copy(source, view, "a view of memory that is not plain rows, or of the input")
        return view

    def _concat(self, call: relax.Call, variable: relax.Var) -> Tensor:
        """The whole; its inputs are there already, but for those that the plan has copied."""
        whole, axis, start = self._home(variable), split_axis(call) or 0, 0
        for index, item in enumerate(call.args[0].fields):
            source, size = self._single(item), static_shape(item)[axis]
            part = whole.part(axis, start, size)
            if source.buffer is not part.buffer or source.layout.lead != part.layout.lead:
                reason = self.plan.reasons.get((variable, index), "its kernel writes elsewhere")
                self._copy(source, part, f"concatenation: {reason}")
            start += size
        return whole

    def _split(self, call: relax.Call) -> tuple[Tensor, ...]:
        source, axis, start, parts = self._shaped(call.args[0]), split_axis(call) or 0, 0, []
        for field_type in call.ty.fields:
            size = _shape(field_type)[axis]
            parts.append(self._part(source, axis, start, size))
            start += size
        return tuple(parts)

    def _shaped(self, expr: relax.Expr) -> Tensor:
        """The tensor of a value, with the value's own shape: a reshape shares the tensor that it looks at."""
        source, shape = self._single(expr), static_shape(expr)
        if source.layout.shape == shape:
            return source
        layout = Layout(shape=shape, slack=source.layout.slack)
        return Tensor(name=source.name, role=source.role, dtype=source.dtype, layout=layout, whole=source)

    def _part(self, source: Tensor, axis: int, start: int, size: int) -> Tensor:
        """A part of a tensor; of the input, which has no halo, a copy of that part."""
        part = source.part(axis, start, size)
        if source.role == "activation":
            return part
        layout = self.layouts.of(part.layout.shape)
        copy = Tensor(name=part.name, role="activation", dtype=self._stored(part.dtype), layout=layout)
        self._copy(part, copy, "a slice of the input, which has no halo")
        return copy

    def _home(self, variable: relax.Var) -> Tensor:
        """The tensor of a value that a kernel, or a concatenation's inputs, write."""
        if variable in self.values:
            return self._single(variable)
        place = self.plan.places.get(variable)
        if place is None:
            home = self._activation(str(variable.name), variable.ty)
        else:
            home = self._home(place.whole).part(place.axis, place.start, _shape(variable.ty)[place.axis])
        self.values[variable] = (home,)
        return home

    def _activation(self, name: str, type_: relax.TensorType) -> Tensor:
        """A value of that type in registers, stored as the precision says."""
        dtype = self._stored(str(type_.dtype))
        return Tensor(name=name, role="activation", dtype=dtype, layout=self.layouts.of(_shape(type_)))

    def _copy(self, source: Tensor, destination: Tensor, reason: str = "the network's output is plain rows") -> None:
        """A kernel that copies element by element in row-major order, whatever both layouts are."""
        computed = "int32" if source.dtype == "int32" else "float32"
        function = copy_function(source.layout.shape, destination.layout.shape, computed)
        self._emit(function, (source, destination), (destination,), "copy", reason)

    def _call(self, variable: relax.Var, call: relax.Call, output: Tensor | None) -> tuple[Tensor, ...]:
        function_name, arguments = call.args[0], call.args[1]
        function = self.module[function_name]
        inputs = tuple(self._single(argument) for argument in arguments)
        types = call.ty_args[0]
        name = str(function_name.name_hint)
        if output is not None:
            outputs: tuple[Tensor, ...] = (output,)
        elif hasattr(types, "fields"):
            outputs = tuple(
                self._activation(f"{name}.{len(self.steps)}.{index}", item) for index, item in enumerate(types.fields)
            )
        else:
            outputs = (self._home(variable),)
        reason = "the input has no halo for a convolution" if name == "copy" else "no weights"
        self._emit(function, (*inputs, *outputs), outputs, name, reason)
        return outputs

    def _emit(
        self,
        function: tirx.PrimFunc,
        tensors: tuple[Tensor, ...],
        written: tuple[Tensor, ...],
        name: str,
        reason: str = "no weights",
    ) -> None:
        layouts = tuple(None if tensor.layout.is_plain else tensor.layout for tensor in tensors)
        dtypes = tuple(tensor.dtype for tensor in tensors)
        try:
            group, layer = self.builder.build(function, layouts, dtypes, name)
        except CompileError as error:
            raise CompileError(f"{error}; it comes {self._place()}") from error
        by_name = {f"a{index}": tensor for index, tensor in enumerate(tensors)}
        for temporary in group.temporaries:
            by_name[temporary.name] = Tensor(
                name=f"{name}.{temporary.name}",
                role="activation",
                dtype=temporary.dtype,
                layout=Layout(shape=temporary.shape),
            )
        outputs = {id(tensor) for tensor in written} | {id(by_name[t.name]) for t in group.temporaries}
        for kernel in group.kernels:
            arguments = tuple(
                self._image(by_name[argument]) if argument in kernel.images else by_name[argument]
                for argument in kernel.arguments
            )
            changed = tuple(tensor for tensor in arguments if id(tensor) in outputs)
            operator = layer.shape.name if layer is not None else name
            counted = layer if kernel is group.kernels[-1] else None  # a layer's work counts once
            self.steps.append(
                LoweredStep(
                    kernel=kernel,
                    arguments=arguments,
                    written=changed,
                    operator=operator,
                    layer=counted,
                    reason=reason,
                )
            )

    def _place(self) -> str:
        """Where in the network the next step is: TVM keeps no names, but layers with weights have theirs."""
        layer = next((step.layer for step in reversed(self.steps) if step.layer is not None), None)
        return "before the first layer" if layer is None else f"after layer {layer.shape.name!r}"

    def _single(self, expr: relax.Expr) -> Tensor:
        tensors = self._tensors(expr)
        if len(tensors) != 1:
            raise CompileError(f"{len(tensors)} values where one is expected")
        return tensors[0]

    def _tensors(self, expr: relax.Expr) -> tuple[Tensor, ...]:
        if isinstance(expr, tvm.ir.GenericConst):
            return (self._constant(expr.value.numpy()),)
        if isinstance(expr, relax.Var) and expr in self.values:
            return self.values[expr]
        raise CompileError(f"unexpected expression in the lowered network: {type(expr).__name__}")

    def _constant(self, values: npt.NDArray[Any]) -> Tensor:
        digest = hashlib.sha256(np.ascontiguousarray(values).data).digest()
        key = (str(values.dtype), values.shape, digest)
        if key not in self.constants:
            if values.dtype not in (np.float32, np.int32):
                raise CompileError(f"a constant has type {values.dtype}; float32 and int32 are supported")
            dtype = self._stored(str(values.dtype))
            if dtype == "float16":
                require_half_range(values, f"a constant of shape {values.shape}")
            self.constants[key] = Tensor(
                name=f"weight{len(self.constants)}",
                role="weight",
                dtype=dtype,
                layout=Layout(shape=values.shape),
                data=np.ascontiguousarray(values, dtype),
            )
        return self.constants[key]

    def _image(self, weight: Tensor) -> Tensor:
        """The weight as texels."""
        if weight not in self.images:
            assert weight.data is not None, f"{weight.name} is no weight"
            data = texels(weight.data)
            layout = Layout(shape=data.shape)
            self.images[weight] = replace(weight, data=data, layout=layout, storage="image")
        return self.images[weight]

    def _stored(self, dtype: str) -> str:
        """Type in memory of weights and activations that are ``dtype`` in registers; integers stay."""
        return self.storage if dtype in ("float32", "float16") else dtype


def _shape(type_: relax.TensorType) -> tuple[int, ...]:
    return tuple(int(size) for size in type_.shape)
