"""A scheduled PrimFunc becomes OpenCL C with its launch geometry.

TVM lowers and generates; host code is dropped. Parameters are renamed before lowering (``a0``, ``a1``, …), so that
the arguments of each device kernel are found by name. Memory layouts with a halo are put into the
parameters' buffer types here, which is why no schedule needs to know of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from .errors import CompileError
from .layout import Layout
from .opencl_half import spell_halves, without_extension
from .vector_text import tidy_vectors

__all__ = ["DeviceKernel", "KernelGroup", "Temporary", "build_kernels", "with_layouts"]

THREAD_AXES = ("x", "y", "z")


@dataclass(frozen=True, kw_only=True)
class DeviceKernel:
    """One OpenCL kernel.

    Attributes:
        name: Entry point.
        source: OpenCL C with this kernel alone.
        global_size: Work-items.
        local_size: Work-items per work-group.
        arguments: Names in the order of its parameters: ``a<i>`` is parameter i of the PrimFunc, any other a temporary.
    """

    name: str
    source: str
    global_size: tuple[int, int, int]
    local_size: tuple[int, int, int]
    arguments: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Temporary:
    """A buffer between two kernels of one PrimFunc."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class KernelGroup:
    """Kernels of one PrimFunc, in the order they run, and their temporaries."""

    kernels: tuple[DeviceKernel, ...]
    temporaries: tuple[Temporary, ...]


def with_layouts(func: tirx.PrimFunc, layouts: Sequence[Layout | None]) -> tirx.PrimFunc:
    """The function with parameters named ``a<i>`` and strided as their layout says (None: rows without gaps)."""
    if len(func.params) != len(layouts):
        raise ValueError(f"{len(layouts)} layouts for {len(func.params)} parameters")
    replaced = [
        (old, _parameter(old, f"a{index}", layout))
        for index, (old, layout) in enumerate(zip(func.params, layouts, strict=True))
    ]

    def replace(variable: tvm.ir.Var) -> tvm.ir.Var:
        return next((new for old, new in replaced if old.same_as(variable)), variable)

    return tvm_ffi.structural_map(func, (tvm.ir.Var, replace))


def _parameter(old: tvm.ir.Var, name: str, layout: Layout | None) -> tvm.ir.Var:
    if layout is None or layout.is_plain:
        return tirx.decl_buffer(old.shape, old.dtype, name=name)
    index_type = str(old.shape[0].ty.dtype)
    return tirx.decl_buffer(
        old.shape,
        old.dtype,
        name=name,
        strides=[tirx.IntImm(index_type, stride) for stride in layout.strides],
        elem_offset=tirx.IntImm(index_type, layout.lead),
    )


def build_kernels(func: tirx.PrimFunc, target: tvm.target.Target, *, name: str) -> KernelGroup:
    """Lower a scheduled function, parameters named as by `with_layouts`, and generate its kernels.

    Raises:
        CompileError: If TVM cannot lower it.
    """
    func = func.with_attr("global_symbol", name).with_attr("target", target)
    try:
        pipeline, _, finalize = importlib.import_module("tvm.tirx.compilation_pipeline").get_tir_pipeline("s_tir")
        split = importlib.import_module("tvm.tirx.build").split_host_device_mods
        with target:
            lowered = pipeline(_index_type(tvm.IRModule({name: func}), target))
        _, devices = split(lowered)
        kernels = []
        for module in devices.values():
            finished = finalize()(module)
            kernels += [_kernel(variable, kernel, target) for variable, kernel in finished.functions.items()]
    except Exception as error:  # TVM raises its own types, and Python's
        raise CompileError(f"TVM cannot generate OpenCL for {name!r}: {_last_line(error)}") from error
    if not kernels:
        raise CompileError(f"TVM generates no kernel for {name!r}: its loops are not bound to work-items")
    return KernelGroup(kernels=tuple(sorted(kernels, key=_order)), temporaries=_temporaries(func))


def _index_type(module: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """32-bit addresses on a GPU, where 64-bit integers are emulated; a CPU is up to three times slower with them.

    No buffer has 2^31 elements (`Target.max_buffer_bytes`).
    """
    return tirx.transform.ForceNarrowIndexToInt32()(module) if "adreno" in target.keys else module


def _order(kernel: DeviceKernel) -> tuple[int, str]:
    """TVM names the kernels of a function ``f_kernel``, ``f_kernel_1``, …, in the order they run."""
    _, _, number = kernel.name.rpartition("_kernel")
    return (int(number.removeprefix("_") or 0), kernel.name)


def _kernel(variable: tvm.ir.GlobalVar, func: tirx.PrimFunc, target: tvm.target.Target) -> DeviceKernel:
    module = tvm.get_global_func("target.build.opencl")(tvm.IRModule({variable: spell_halves(func)}), target)
    source = without_extension(module.inspect_source())
    extents = _thread_extents(func.body)
    local = tuple(extents.get(f"threadIdx.{axis}", 1) for axis in THREAD_AXES)
    groups = tuple(extents.get(f"blockIdx.{axis}", 1) for axis in THREAD_AXES)
    return DeviceKernel(
        name=str(func.attrs["global_symbol"]) if "global_symbol" in func.attrs else variable.name_hint,
        source=tidy_vectors(source, loads="adreno" in target.keys),
        global_size=(local[0] * groups[0], local[1] * groups[1], local[2] * groups[2]),
        local_size=(local[0], local[1], local[2]),
        arguments=tuple(str(param.name).removesuffix("_ptr") for param in func.params),
    )


def _thread_extents(stmt: tirx.Stmt) -> dict[str, int]:
    """Launch sizes: ``thread_extent`` attributes anywhere in the statement tree."""
    extents: dict[str, int] = {}
    stack = [stmt]
    while stack:
        node = stack.pop()
        if isinstance(node, tirx.AttrStmt) and node.attr_key == "thread_extent":
            extents[str(node.node.thread_tag)] = int(node.value)
        if isinstance(node, tirx.SeqStmt):
            stack.extend(node.seq)
        for field in ("body", "then_case", "else_case"):
            child = getattr(node, field, None)
            if child is not None:
                stack.append(child)
    return extents


def _temporaries(func: tirx.PrimFunc) -> tuple[Temporary, ...]:
    allocated = func.body.block.alloc_buffers if isinstance(func.body, s_tir.SBlockRealize) else ()
    return tuple(
        Temporary(name=str(b.name), dtype=str(b.dtype), shape=tuple(int(s) for s in b.shape))
        for b in allocated
        if b.scope() == "global"
    )


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
