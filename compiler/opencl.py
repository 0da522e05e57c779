"""A scheduled PrimFunc becomes OpenCL C with its launch geometry.

TVM lowers and generates; host code is dropped. Parameters and temporaries are renamed before lowering (``a0``, ``a1``, …,
``t0``, …), so that the arguments of each device kernel are found by name. Memory layouts with a halo are put into the
parameters' buffer types here, which is why no schedule needs to know of them.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import tirx

from .errors import CompileError
from .layout import Layout
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
        arguments: Names in the order of its parameters: ``a<i>`` is parameter i of the PrimFunc, ``t<i>`` a temporary.
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
    """The function with parameters named ``a<i>`` and strided as their layout says (None: rows without gaps).

    TVM has no pass that changes a parameter's strides, so the function's JSON form is edited: a parameter is a ``Var``
    node whose ``BufferType`` node holds shape, strides and offset.
    """
    document = json.loads(tvm.ir.save_json(func))
    nodes: list[dict[str, Any]] = document["nodes"]
    params = nodes[nodes[document["root_index"]]["data"]["params"]]["data"]
    if len(params) != len(layouts):
        raise ValueError(f"{len(layouts)} layouts for {len(params)} parameters")

    def add(kind: str, data: Any) -> int:
        nodes.append({"type": kind, "data": data})
        return len(nodes) - 1

    for index, (param, layout) in enumerate(zip(params, layouts, strict=True)):
        variable = nodes[param]["data"]
        variable["name"] = add("ffi.String", f"a{index}")
        if layout is None or layout.is_plain:
            continue
        buffer = dict(nodes[variable["ty"]]["data"])
        prototype = nodes[buffer["elem_offset"]]["data"]

        def integer(value: int, like: dict[str, Any] = prototype) -> int:
            return add("ir.IntImm", {**like, "value": add("int", value)})

        buffer["strides"] = add("ffi.Array", [integer(stride) for stride in layout.strides])
        buffer["elem_offset"] = integer(layout.lead)
        variable["ty"] = add("tirx.BufferType", buffer)
    return tvm.ir.load_json(json.dumps(document))


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
            lowered = pipeline(tvm.IRModule({name: func}))
        _, devices = split(lowered)
        kernels = []
        for module in devices.values():
            finished = finalize()(module)
            kernels += [_kernel(variable, kernel, target) for variable, kernel in finished.functions.items()]
    except (tvm.error.TVMError, RuntimeError, ValueError, TypeError) as error:
        raise CompileError(f"TVM cannot generate OpenCL for {name!r}: {_last_line(error)}") from error
    return KernelGroup(kernels=tuple(sorted(kernels, key=_order)), temporaries=_temporaries(func))


def _order(kernel: DeviceKernel) -> tuple[int, str]:
    """TVM names the kernels of a function ``f_kernel``, ``f_kernel_1``, …, in the order they run."""
    _, _, number = kernel.name.rpartition("_kernel")
    return (int(number.removeprefix("_") or 0), kernel.name)


def _kernel(variable: tvm.ir.GlobalVar, func: tirx.PrimFunc, target: tvm.target.Target) -> DeviceKernel:
    module = tvm.get_global_func("target.build.opencl")(tvm.IRModule({variable: func}), target)
    extents = _thread_extents(func.body)
    local = tuple(extents.get(f"threadIdx.{axis}", 1) for axis in THREAD_AXES)
    groups = tuple(extents.get(f"blockIdx.{axis}", 1) for axis in THREAD_AXES)
    return DeviceKernel(
        name=str(func.attrs["global_symbol"]) if "global_symbol" in func.attrs else variable.name_hint,
        source=tidy_vectors(module.inspect_source()),
        global_size=(local[0] * groups[0], local[1] * groups[1], local[2] * groups[2]),
        local_size=(local[0], local[1], local[2]),
        arguments=tuple(str(param.name).removesuffix("_ptr") for param in func.params),
    )


def _thread_extents(stmt: Any) -> dict[str, int]:
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
    allocated = func.body.block.alloc_buffers
    return tuple(
        Temporary(name=str(b.name), dtype=str(b.dtype), shape=tuple(int(s) for s in b.shape))
        for b in allocated
        if b.scope() == "global"
    )


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
