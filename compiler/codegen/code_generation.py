"""A scheduled PrimFunc becomes kernels in the language of the target's backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tvm import s_tir, tirx

from ..errors import CompileError
from ..memory.layout import Layout
from ..targets import Target
from .device_functions import DeviceFunction, DeviceKernel, lower_function
from .halo_stores import store_halos
from .opencl import opencl_kernel
from .vulkan import vulkan_kernel

__all__ = ["KernelGroup", "Temporary", "build_kernels"]

_GENERATORS: Final = MappingProxyType[str, Callable[[DeviceFunction, Target], DeviceKernel]](
    {"opencl": opencl_kernel, "vulkan": vulkan_kernel}
)


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


def build_kernels(
    func: tirx.PrimFunc, target: Target, *, name: str, layouts: Sequence[Layout | None] = ()
) -> KernelGroup:
    """Lower a scheduled function, parameters named and strided as by `with_layouts`, and generate its kernels.

    Args:
        func: What is computed.
        target: What is compiled for.
        name: Stem of the kernels' names.
        layouts: Of its parameters: the halos of those that it writes are written, too.

    Raises:
        CompileError: If it cannot be lowered or generated, or a kernel takes more buffers than the target allows.
    """
    functions = tuple(store_halos(function, layouts) for function in lower_function(func, target, name=name))
    for function in functions:
        if len(function.arguments) > target.max_arguments:
            raise CompileError(
                f"kernel {function.name!r} takes {len(function.arguments)} buffers, {target.name} allows "
                f"{target.max_arguments}: an operator with fewer inputs would work"
            )
    generate = _GENERATORS[target.backend]
    kernels = tuple(generate(function, target) for function in functions)
    return KernelGroup(kernels=kernels, temporaries=_temporaries(func))


def _temporaries(func: tirx.PrimFunc) -> tuple[Temporary, ...]:
    allocated = func.body.block.alloc_buffers if isinstance(func.body, s_tir.SBlockRealize) else ()
    return tuple(
        Temporary(name=str(b.name), dtype=str(b.dtype), shape=tuple(int(s) for s in b.shape))
        for b in allocated
        if b.scope() == "global"
    )
