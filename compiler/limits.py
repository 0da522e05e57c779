"""What a target cannot run is refused here, with the layer's name, before a device sees it.

Weights that are larger than a buffer may be have been split by then (`legalize`).
"""

from __future__ import annotations

import re
from math import prod

from ..device.package_records import MAX_STEP_ARGUMENTS
from .errors import CompileError
from .lowered import LoweredNetwork, LoweredStep
from .memory.execution_plan import MemoryPlan
from .targets import Target

__all__ = ["check_limits"]

ITEM_BYTES = {"float": 4, "int": 4, "uint": 4, "half": 2, "long": 8, "double": 8, "char": 1, "uchar": 1}
_LOCAL_ARRAY = re.compile(r"(?:__local|\bshared)\s+(?P<type>[a-z]+?)(?P<lanes>\d*)\s+\w+\[(?P<count>\d+)\]")


def check_limits(network: LoweredNetwork, plan: MemoryPlan, target: Target) -> None:
    """Check every buffer, image and every launch of a plan against the target.

    Raises:
        CompileError: Naming the tensor or layer, its size, the target's limit, and what would fit.
    """
    _check_buffers(plan, target)
    for step in network.steps:
        _check_step(step, target)


def _check_buffers(plan: MemoryPlan, target: Target) -> None:
    limit = target.max_buffer_bytes
    for tensor in plan.tensors:
        size = tensor.size_bytes
        if size > limit:
            advice = "a smaller --batch or smaller images" if tensor.data is None else "fewer channels"
            raise CompileError(
                f"{tensor.role} {tensor.name!r} needs {size} bytes; buffers on {target.name} have at most "
                f"{limit}: compile for {advice}"
            )
        if tensor.storage == "image" and max(tensor.layout.shape[:2]) > target.max_image_size:
            height, width, _ = tensor.layout.shape
            raise CompileError(
                f"{tensor.role} {tensor.name!r} is an image of {width} x {height} texels; images on {target.name} have "
                f"at most {target.max_image_size} on a side: compile for fewer channels"
            )
    if plan.arena_bytes > limit:
        raise CompileError(
            f"the activations need {plan.arena_bytes} bytes in one buffer; buffers on {target.name} have at most "
            f"{limit}: compile for a smaller --batch or smaller images"
        )


def _check_step(step: LoweredStep, target: Target) -> None:
    what = f"kernel {step.kernel.name!r} of {step.operator!r}"
    items = prod(step.kernel.local_size)
    if items > target.max_work_group_size:
        raise CompileError(
            f"{what} has work-groups of {items} work-items; {target.name} runs at most {target.max_work_group_size}"
        )
    source = step.kernel.source
    local = local_memory_bytes(source) if isinstance(source, str) else 0  # SPIR-V comes from text without any
    if local > target.local_memory_bytes:
        raise CompileError(
            f"{what} needs {local} bytes of local memory; {target.name} has {target.local_memory_bytes} a work-group"
        )
    if len(step.arguments) > MAX_STEP_ARGUMENTS:
        raise CompileError(
            f"{what} has {len(step.arguments)} arguments; at most {MAX_STEP_ARGUMENTS} can be passed: put an operator "
            "that is not elementwise in between, so that fewer are fused"
        )


def local_memory_bytes(source: str) -> int:
    """Local memory that a kernel declares, in OpenCL C or GLSL."""
    total = 0
    for match in _LOCAL_ARRAY.finditer(source):
        total += ITEM_BYTES.get(match["type"], 4) * int(match["lanes"] or 1) * int(match["count"])
    return total
