"""A device function becomes SPIR-V: GLSL of our own (the wheel of TVM has no code generation for Vulkan), compiled."""

from __future__ import annotations

from ..errors import CompileError
from ..targets import Target
from .device_functions import DeviceFunction, DeviceKernel
from .glsl import glsl_program
from .spirv import compile_glsl

__all__ = ["vulkan_kernel"]


def vulkan_kernel(function: DeviceFunction, target: Target) -> DeviceKernel:
    """The function as one SPIR-V program with the entry point ``main``.

    Raises:
        CompileError: If a construct has no form in GLSL, no compiler is installed, or shared memory is too small.
    """
    program = glsl_program(function, max_texel_elements=target.max_texel_elements)
    if program.shared_bytes > target.local_memory_bytes:
        raise CompileError(
            f"kernel {function.name!r} needs {program.shared_bytes} bytes of shared memory, {target.name} has "
            f"{target.local_memory_bytes}"
        )
    (x, y, z), (gx, gy, gz) = function.local_size, program.groups
    return DeviceKernel(
        name=function.name,
        source=compile_glsl(program.text, name=function.name),
        global_size=(x * gx, y * gy, z * gz),
        local_size=function.local_size,
        arguments=function.arguments,
    )
