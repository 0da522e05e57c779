"""A device function becomes OpenCL C: TVM generates it, vectors are written as the language has them."""

from __future__ import annotations

import tvm

from ..errors import CompileError, hear_interrupts
from ..targets import Target
from .device_functions import DeviceFunction, DeviceKernel, last_line
from .opencl_half import spell_halves, without_extension
from .opencl_texels import declare_images, spell_texels
from .vector_text import tidy_vectors

__all__ = ["opencl_kernel"]


def opencl_kernel(function: DeviceFunction, target: Target) -> DeviceKernel:
    """The function as one OpenCL program.

    Raises:
        CompileError: If TVM cannot generate it.
    """
    try:
        build = tvm.get_global_func("target.build.opencl")
        with hear_interrupts():
            spelled = spell_halves(spell_texels(function.function, function.images))
            module = build(tvm.IRModule({function.name: spelled}), target.tvm_target())
    except Exception as error:  # TVM raises its own types, and Python's
        raise CompileError(f"TVM cannot generate OpenCL for {function.name!r}: {last_line(error)}") from error
    (x, y, z), (gx, gy, gz) = function.local_size, function.groups
    source = declare_images(without_extension(module.inspect_source()), function.images)
    return DeviceKernel(
        name=function.name,
        source=tidy_vectors(source, calls=not target.has_long_addresses),
        global_size=(x * gx, y * gy, z * gz),
        local_size=function.local_size,
        arguments=function.arguments,
        images=function.images,
    )
