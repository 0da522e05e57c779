"""A scheduled PrimFunc becomes device functions: plain statements over flat buffers, with their launch geometry.

TVM lowers and splits off the host's part, which is dropped; `opencl` and `vulkan` write each device function in their
language. Parameters are renamed before lowering (``a0``, ``a1``, …), so that the arguments of each kernel are found by
name. Memory layouts with a halo are put into the parameters' buffer types here, which is why no schedule needs to know
of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import tirx

from ..errors import CompileError, hear_interrupts
from ..images import IMAGE_ATTRIBUTE
from ..memory.layout import Layout
from ..targets import Target

__all__ = ["DeviceFunction", "DeviceKernel", "last_line", "lower_function", "walk", "with_layouts"]

THREAD_AXES = ("x", "y", "z")

Sizes = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class DeviceFunction:
    """What one kernel does.

    Attributes:
        name: Entry point.
        function: Lowered by TVM; its parameters are pointers.
        groups: Work-groups.
        local_size: Work-items per work-group.
        arguments: Names in the order of its parameters: ``a<i>`` is parameter i of the PrimFunc, any other a temporary.
        images: Those of them that are read from images (`opencl_texels`).
    """

    name: str
    function: tirx.PrimFunc
    groups: Sizes
    local_size: Sizes
    arguments: tuple[str, ...]
    images: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class DeviceKernel:
    """One kernel in the target's language.

    Attributes:
        name: Entry point, or for SPIR-V, where that is always ``main``, a name for people.
        source: A program with this kernel alone: OpenCL C, or SPIR-V as bytes.
        global_size: Work-items.
        local_size: Work-items per work-group.
        arguments: As in `DeviceFunction`.
        images: As in `DeviceFunction`.
    """

    name: str
    source: str | bytes
    global_size: Sizes
    local_size: Sizes
    arguments: tuple[str, ...]
    images: frozenset[str] = frozenset()


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


def lower_function(func: tirx.PrimFunc, target: Target, *, name: str) -> tuple[DeviceFunction, ...]:
    """Lower a scheduled function, parameters named as by `with_layouts`; its kernels in the order they run.

    Its attribute `IMAGE_ATTRIBUTE` is the index of a parameter that is read from an image.

    Raises:
        CompileError: If TVM cannot lower it, or its loops are not bound to work-items.
    """
    images = _images(func)
    tvm_target = target.tvm_target()
    func = func.with_attr("global_symbol", name).with_attr("target", tvm_target)
    try:
        pipeline, _, finalize = importlib.import_module("tvm.tirx.compilation_pipeline").get_tir_pipeline("s_tir")
        split = importlib.import_module("tvm.tirx.build").split_host_device_mods
        found = []
        with hear_interrupts():
            with tvm_target, _index_passes(target):
                lowered = pipeline(_index_type(tvm.IRModule({name: func}), target))
            _, devices = split(lowered)
            for module in devices.values():
                finished = finalize()(module)
                found += [_device_function(variable, kernel, images) for variable, kernel in finished.functions.items()]
    except Exception as error:  # TVM raises its own types, and Python's
        raise CompileError(f"TVM cannot lower {name!r}: {last_line(error)}") from error
    if not found:
        raise CompileError(f"TVM generates no kernel for {name!r}: its loops are not bound to work-items")
    return tuple(sorted(found, key=_order))


def _images(func: tirx.PrimFunc) -> frozenset[str]:
    found = func.attrs is not None and IMAGE_ATTRIBUTE in func.attrs
    return frozenset([f"a{int(func.attrs[IMAGE_ATTRIBUTE])}"] if found else [])


def _index_type(module: tvm.IRModule, target: Target) -> tvm.IRModule:
    """32-bit addresses on a GPU, where 64-bit integers are emulated; a CPU is up to three times slower with them.

    No buffer has 2^31 elements (`Target.max_buffer_bytes`).
    """
    return module if target.has_long_addresses else tirx.transform.ForceNarrowIndexToInt32()(module)


def _index_passes(target: Target) -> tvm.transform.PassContext:
    """Keeps TVM from narrowing some indices again where addresses are long: a CPU would widen each one by itself."""
    return tvm.transform.PassContext(disabled_pass=["tirx.NarrowDataType"] if target.has_long_addresses else [])


def _order(function: DeviceFunction) -> tuple[int, str]:
    """TVM names the kernels of a function ``f_kernel``, ``f_kernel_1``, …, in the order they run."""
    _, _, number = function.name.rpartition("_kernel")
    return (int(number.removeprefix("_") or 0), function.name)


def _device_function(variable: tvm.ir.GlobalVar, func: tirx.PrimFunc, images: frozenset[str]) -> DeviceFunction:
    extents = {
        str(node.node.thread_tag): int(node.value)
        for node in walk(func.body)
        if isinstance(node, tirx.AttrStmt) and node.attr_key == "thread_extent"
    }
    arguments = tuple(str(param.name).removesuffix("_ptr") for param in func.params)
    groups, local = ([extents.get(f"{kind}.{axis}", 1) for axis in THREAD_AXES] for kind in ("blockIdx", "threadIdx"))
    return DeviceFunction(
        name=str(func.attrs["global_symbol"]) if "global_symbol" in func.attrs else variable.name_hint,
        function=func,
        groups=(groups[0], groups[1], groups[2]),
        local_size=(local[0], local[1], local[2]),
        arguments=arguments,
        images=images & set(arguments),
    )


def walk(stmt: tirx.Stmt) -> Iterator[tirx.Stmt]:
    """A statement and all statements in it, in order."""
    yield stmt
    if isinstance(stmt, tirx.SeqStmt):
        for child in stmt.seq:
            yield from walk(child)
    for field in ("body", "then_case", "else_case"):
        child = getattr(stmt, field, None)
        if child is not None:
            yield from walk(child)


def last_line(error: BaseException) -> str:
    """What an exception says, without TVM's stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
