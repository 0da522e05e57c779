"""A lowered network as values: tensors and launches in order. `lower` makes it, `execution_plan` gives it memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from ..device.package_records import DTYPE_BYTES
from ..device.package_types import Role, Storage
from .codegen.device_functions import DeviceKernel
from .legalize.legalizer import Layer
from .memory.layout import Layout

__all__ = ["LoweredNetwork", "LoweredStep", "Tensor"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tensor:
    """A buffer of the network, or a part of one; reshapes share the tensor they look at.

    Attributes:
        name: For reports.
        role: As in the package.
        dtype: In memory: ``float32``, ``int32`` or ``float16``.
        layout: Shape and place of the elements.
        data: Of weights.
        storage: ``buffer``, or ``image`` for weights in texels; their shape is then that of the image (`images`).
        whole: The tensor that this is a part of.
    """

    name: str
    role: Role
    dtype: str
    layout: Layout
    data: npt.NDArray[Any] | None = None
    storage: Storage = "buffer"
    whole: Tensor | None = None

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return DTYPE_BYTES[self.dtype]

    @property
    def size_bytes(self) -> int:
        """Bytes of its memory, halo and slack included; of a part, those of its elements."""
        return self.layout.elements * self.item_bytes

    @property
    def buffer(self) -> Tensor:
        """The tensor that has memory: itself, or the outermost of which it is a part."""
        return self if self.whole is None else self.whole.buffer

    def part(self, axis: int, start: int, size: int) -> Tensor:
        """Indices ``start`` to ``start + size - 1`` of an axis, in this tensor's memory."""
        layout = self.layout.part(axis, start, size)
        name = f"{self.name}[{start}:{start + size}]"
        return Tensor(name=name, role=self.role, dtype=self.dtype, layout=layout, whole=self)


@dataclass(frozen=True, kw_only=True)
class LoweredStep:
    """One launch.

    Attributes:
        kernel: What runs.
        arguments: In the order of its parameters; parts of tensors stand for the tensor's memory.
        written: Those of them that it writes.
        operator: The source operator.
        layer: That it computes, if any.
        reason: Why a step without a layer is there.
    """

    kernel: DeviceKernel
    arguments: tuple[Tensor, ...]
    written: tuple[Tensor, ...]
    operator: str
    layer: Layer | None
    reason: str = "no weights"


@dataclass(frozen=True, kw_only=True)
class LoweredNetwork:
    """Steps in order, and the network's input and output."""

    steps: tuple[LoweredStep, ...]
    input: Tensor
    output: Tensor
