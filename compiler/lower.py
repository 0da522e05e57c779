"""A Relax module becomes a straight line of kernels over tensors.

    decompose, fold -> legalize (`legalize`) -> fuse (TVM) -> per call: layouts, schedule, OpenCL (`opencl`)

Equal functions are built once. Reshapes of plain tensors become views and cost nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, te, tirx

from ..device.package_records import DTYPE_BYTES
from ..device.precision import STORAGE_DTYPES
from .activation_layouts import VIEW_OPERATORS, ActivationLayouts, find_layouts
from .errors import CompileError, UnsupportedOpError
from .kernels import KernelBuilder
from .layout import Layout
from .legalize import Layer, Legalizer
from .opencl import DeviceKernel
from .passes.half_range import require_half_range
from .targets import Target

__all__ = ["LoweredNetwork", "LoweredStep", "Tensor", "lower"]

Role = Literal["input", "output", "weight", "activation"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tensor:
    """A buffer of the network; views share the tensor they look at.

    Attributes:
        name: For reports.
        role: As in the package.
        dtype: In memory: ``float32``, ``int32`` or ``float16``.
        layout: Shape and place of the elements.
        data: Of weights.
    """

    name: str
    role: Role
    dtype: str
    layout: Layout
    data: npt.NDArray[Any] | None = None

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return DTYPE_BYTES[self.dtype]

    @property
    def size_bytes(self) -> int:
        """Bytes of its memory, halo and slack included."""
        return self.layout.elements * self.item_bytes


@dataclass(frozen=True, kw_only=True)
class LoweredStep:
    """One launch: a kernel, its arguments in order, which of them it writes, and the layer it computes, if any.

    ``moved_bytes`` is its memory traffic where it does not touch all of its arguments.
    """

    kernel: DeviceKernel
    arguments: tuple[Tensor, ...]
    written: tuple[Tensor, ...]
    operator: str
    layer: Layer | None
    moved_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class LoweredNetwork:
    """Steps in order, and the network's input and output."""

    steps: tuple[LoweredStep, ...]
    input: Tensor
    output: Tensor


def lower(module: tvm.IRModule, target: Target, *, names: dict[str, list[str]]) -> LoweredNetwork:
    """Lower a Relax module with one function ``main``, weights as constants.

    Args:
        module: From the importer.
        target: What is compiled for.
        names: Source operators by `legalize.weight_key`; consumed.

    Raises:
        CompileError: If TVM cannot lower an operator.
    """
    passes = relax.transform
    with tvm.ir.transform.PassContext(opt_level=3):
        module = tvm.ir.transform.Sequential(
            [passes.DecomposeOpsForInference(), passes.CanonicalizeBindings(), passes.FoldConstant()]
        )(module)
        main = module["main"]
        legalizer = Legalizer(
            target=target,
            layouts=find_layouts(module, target),
            names=names,
            inputs=frozenset(str(param.name) for param in main.params),
        )
        module = tvm.ir.transform.Sequential(
            [
                passes.LegalizeOps(legalizer.table()),
                passes.FoldConstant(),
                passes.AnnotateTIROpPattern(),
                passes.FuseOps(),
                passes.FuseTIR(),
                passes.DeadCodeElimination(),
            ]
        )(module)
    return _Line(
        module,
        legalizer.layouts,
        KernelBuilder(target=target, layers=legalizer.layers),
        storage=STORAGE_DTYPES[target.precision],
    ).run()


@dataclass
class _Line:
    """Walks the bindings of ``main`` and emits steps."""

    module: tvm.IRModule
    layouts: ActivationLayouts
    builder: KernelBuilder
    storage: str
    steps: list[LoweredStep] = field(default_factory=list)
    values: dict[relax.Var, tuple[Tensor, ...]] = field(default_factory=dict)
    constants: dict[tuple[str, tuple[int, ...], bytes], Tensor] = field(default_factory=dict)

    def run(self) -> LoweredNetwork:
        main = self.module["main"]
        parameter = main.params[0]
        source = Tensor(
            name=str(parameter.name), role="input", dtype="float32", layout=Layout(shape=_shape(parameter.ty))
        )
        self.values[parameter] = (source,)
        output = Tensor(name="output", role="output", dtype="float32", layout=Layout(shape=_shape(main.body.body.ty)))
        for binding in (binding for block in main.body.blocks for binding in block.bindings):
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
            return self._call(value, output)
        if name in VIEW_OPERATORS:
            return (self._view(value, variable, output),)
        raise UnsupportedOpError(f"operator {name!r} has no kernel and no lowering in TVM")

    def _view(self, call: relax.Call, variable: relax.Var, output: Tensor | None) -> Tensor:
        source = self._single(call.args[0])
        layout = self.layouts.of(_shape(variable.ty))
        if output is None and source.role == "activation" and source.layout.is_plain and layout.is_plain:
            return source
        view = output or self._activation(str(variable.name), source.dtype, layout)
        self._copy(source, view)
        return view

    def _copy(self, source: Tensor, destination: Tensor) -> None:
        """A kernel that copies element by element in row-major order, whatever both layouts are."""
        shape, target_shape = source.layout.shape, destination.layout.shape
        x = te.placeholder(shape, "int32" if source.dtype == "int32" else "float32", name="x")

        def element(*index: tvm.ir.Expr) -> tvm.ir.Expr:
            flat: Any = 0
            for position, size in zip(index, target_shape, strict=True):
                flat = flat * size + position
            return x[tuple(_unravel(flat, shape))]

        y = te.compute(target_shape, element if shape != target_shape else lambda *i: x[i], name="copy")
        self._emit(te.create_prim_func([x, y]), (source, destination), (destination,), "copy")

    def _call(self, call: relax.Call, output: Tensor | None) -> tuple[Tensor, ...]:
        variable, arguments = call.args[0], call.args[1]
        function = self.module[variable]
        inputs = tuple(self._single(argument) for argument in arguments)
        types = call.ty_args[0]
        fields = types.fields if hasattr(types, "fields") else [types]
        outputs = (
            (output,)
            if output is not None
            else tuple(
                self._activation(
                    f"{variable.name_hint}.{len(self.steps)}.{index}",
                    str(item.dtype),
                    self.layouts.of(_shape(item)),
                )
                for index, item in enumerate(fields)
            )
        )
        self._emit(function, (*inputs, *outputs), outputs, str(variable.name_hint))
        return outputs

    def _activation(self, name: str, dtype: str, layout: Layout) -> Tensor:
        """A value that is ``dtype`` where it is computed, stored as the precision says."""
        return Tensor(name=name, role="activation", dtype=self._stored(dtype), layout=layout)

    def _emit(
        self, function: tirx.PrimFunc, tensors: tuple[Tensor, ...], written: tuple[Tensor, ...], name: str
    ) -> None:
        layouts = tuple(None if tensor.layout.is_plain else tensor.layout for tensor in tensors)
        dtypes = tuple(tensor.dtype for tensor in tensors)
        group, layer = self.builder.build(function, layouts, dtypes, name)
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
            arguments = tuple(by_name[argument] for argument in kernel.arguments)
            changed = tuple(tensor for tensor in arguments if id(tensor) in outputs)
            operator = layer.shape.name if layer is not None else name
            counted = layer if kernel is group.kernels[-1] else None  # a layer's work counts once
            self.steps.append(
                LoweredStep(kernel=kernel, arguments=arguments, written=changed, operator=operator, layer=counted)
            )

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
        key = (str(values.dtype), values.shape, hashlib.sha256(np.ascontiguousarray(values).data).digest())
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

    def _stored(self, dtype: str) -> str:
        """Type in memory of weights and activations that are ``dtype`` in registers; integers stay."""
        return self.storage if dtype in ("float32", "float16") else dtype


def _shape(type_: relax.TensorType) -> tuple[int, ...]:
    return tuple(int(size) for size in type_.shape)


def _unravel(flat: tvm.ir.Expr, shape: tuple[int, ...]) -> list[tvm.ir.Expr]:
    index: list[tvm.ir.Expr] = []
    for axis in range(len(shape) - 1, -1, -1):
        index.insert(0, te.indexmod(flat, shape[axis]) if axis else flat)
        flat = te.indexdiv(flat, shape[axis])
    return index
