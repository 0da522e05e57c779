"""torch.compile for training: where it pays, and back to the plain network where it does not work.

A network is compiled anew in every stage, because every round makes another, and compiling takes tens of seconds, so it
pays in a training of many steps: on a GPU, where launching small kernels dominates, and on a CPU that has a C++
compiler, where batch norm, ReLU and addition become one pass over memory (benchmarks/compiled_training.py).
"""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import nn

from .hardware import autocast

WORTHWHILE_STEPS = {"cuda": 10_000, "cpu": 4_000}

Forward = Callable[[torch.Tensor], torch.Tensor]


def wants_compile(mode: str, device: torch.device, steps: int) -> bool:
    """Whether a training of `steps` steps on `device` is compiled; `mode` is `auto`, `on` or `off`."""
    worthwhile = steps >= WORTHWHILE_STEPS.get(device.type, steps + 1)
    return mode == "on" or (mode == "auto" and worthwhile and (device.type != "cpu" or _has_cpp_compiler()))


def _has_cpp_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))


def compiled(
    module: nn.Module,
    examples: Sequence[torch.Tensor],
    *,
    precision: str,
    gradients: bool,
    warn: Callable[[str], None] | None = None,
) -> Forward:
    """Compile `module` in its present mode, and try it before it is relied on.

    Args:
        module: The network, left as it was: the trial's gradients and batch-norm statistics are undone.
        examples: Images of every batch size that will come, `(b, c, h, w)`.
        precision: `fp32` or `bf16`, as in the training.
        gradients: Whether it is trained, or only asked (a teacher).
        warn: Told why, where it does not work and `module` itself is returned.
    """
    forward: Forward = torch.compile(module)
    saved = [buffer.clone() for buffer in module.buffers()]
    try:
        for images in examples:
            with nullcontext() if gradients else torch.no_grad():
                with autocast(images.device, precision):
                    value = forward(images)
                if gradients:
                    value.float().square().mean().backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # dynamo, inductor, triton and the C++ compiler each have their own types
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2]) or type(error).__name__
        if warn is not None:
            warn(f"torch.compile does not work here, training goes on without it: {reason}")
        return module
    finally:
        for buffer, value in zip(module.buffers(), saved, strict=True):
            buffer.copy_(value)
        for parameter in module.parameters():
            parameter.grad = None
    return forward
