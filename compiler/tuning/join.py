"""Several packages with the same input become one, so that one call measures them by turns.

Each keeps its buffers and has its own output, which is verified like that of any package; the input is shared. A
package may take several turns: its steps are then repeated in its own memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...device.package_format import Buffer, Kernel, Package, Step

__all__ = ["join_packages", "joined_bytes"]

ALIGNMENT_BYTES = 1024


def joined_bytes(packages: Sequence[Package]) -> tuple[int, int]:
    """Bytes of the arena and of the weights of the joined package."""
    arena = sum(_aligned(package.arena_bytes) for package in packages)
    return arena, sum(_aligned(len(package.weights)) for package in packages)


def join_packages(packages: Sequence[Package], turns: Sequence[int]) -> Package:
    """One package that runs the steps of several.

    Args:
        packages: Of one target, each with one input and one output, all with the same verification input.
        turns: Indices of packages, in the order in which their steps run; each at least once.

    Raises:
        ValueError: If there is none, or they differ in target or input.
    """
    first = packages[0] if packages else None
    if first is None or sorted(set(turns)) != list(range(len(packages))):
        raise ValueError(f"{len(packages)} packages, and turns {list(turns)}: each needs at least one turn")
    if any(_signature(package) != _signature(first) for package in packages):
        raise ValueError(f"packages to join differ in target or input: {[_signature(p) for p in packages]}")
    buffers: list[Buffer] = []
    kernels: dict[Kernel, int] = {}
    steps: list[list[Step]] = []
    outputs: list[int] = []
    blob = bytearray()
    arena_bytes = 0
    for package in packages:
        index = [len(buffers) + number for number in range(len(package.buffers))]
        if package is not first:  # its own input stays unused, as plain memory
            index[package.inputs[0]] = first.inputs[0]
        offsets = {True: arena_bytes, False: len(blob)}
        for number, buffer in enumerate(package.buffers):
            unused = package is not first and number == package.inputs[0]
            role = "activation" if unused else buffer.role
            buffers.append(replace(buffer, role=role, offset=buffer.offset + offsets[buffer.in_arena]))
        steps.append(
            [
                replace(
                    step,
                    kernel=kernels.setdefault(package.kernels[step.kernel], len(kernels)),
                    arguments=tuple(index[argument] for argument in step.arguments),
                )
                for step in package.steps
            ]
        )
        outputs.append(index[package.outputs[0]])
        arena_bytes += _aligned(package.arena_bytes)
        blob += package.weights + bytes(_aligned(len(package.weights)) - len(package.weights))
    return replace(
        first,
        arena_bytes=arena_bytes,
        buffers=tuple(buffers),
        steps=tuple(step for turn in turns for step in steps[turn]),
        kernels=tuple(kernels),
        weights=bytes(blob),
        outputs=tuple(outputs),
        verification_output=np.concatenate([package.verification_output.reshape(-1) for package in packages]),
        metadata={},
    )


def _signature(package: Package) -> tuple[str, str, tuple[int, ...], int, int]:
    shape = package.input_shape if len(package.inputs) == 1 else ()
    return package.target, package.backend, shape, len(package.outputs), hash(package.verification_input.tobytes())


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
