"""What a package holds, as values that a compiler fills in and a device runs.

Several inputs or outputs are stored in the order of ``inputs`` and ``outputs``; their verification data is then one
flat array, the tensors one after another.
"""

from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .precision import Precision

Role = Literal["input", "output", "weight", "activation"]
Storage = Literal["buffer", "image"]
DType = Literal["float32", "int32", "float16"]


class PackageError(ValueError):
    """A package that is cut short, altered, of another version, or whose tables contradict each other."""


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """One tensor.

    ``offset`` is in bytes: into the activation arena for inputs, outputs and activations, into ``Package.weights`` for
    weights. Buffers in the arena may share memory when they are not alive in the same step.

    A weight whose ``storage`` is ``image`` is read as a two-dimensional image of RGBA texels (OpenCL only): its shape
    is height, width and 4, in float32 or float16, its rows follow each other without gaps.
    """

    name: str
    role: Role
    dtype: DType
    shape: tuple[int, ...]
    offset: int
    size_bytes: int
    alignment: int = 1024
    storage: Storage = "buffer"

    @property
    def in_arena(self) -> bool:
        """Whether the buffer lives in the arena (all but weights do)."""
        return self.role != "weight"


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One program.

    ``source`` is OpenCL C as text, with ``name`` as its one entry point, or SPIR-V as bytes, whose entry point is
    always ``main``, as the package's backend asks. ``options`` go to the device's compiler (OpenCL only).
    """

    name: str
    source: str | bytes
    options: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One launch: ``arguments`` are buffer indices in the order of the kernel's parameters, sizes are in work-items."""

    kernel: int
    arguments: tuple[int, ...]
    global_size: tuple[int, int, int]
    local_size: tuple[int, int, int]
    macs: int = 0
    bytes: int = 0
    source_operator: str = ""
    modelled_us: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays do not compare to one truth value
class Package:
    """A compiled network: straight-line ``steps`` over ``buffers`` in one arena of ``arena_bytes``.

    The arena is zero when a package is loaded and is left as it is between runs.

    ``verification_input`` and ``verification_output`` (float32) are a known pair that every device reproduces before
    it is timed. ``preprocessing`` is the network's record as JSON values (labels included), ``metadata`` free text by
    key.
    """

    target: str
    arena_bytes: int
    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    kernels: tuple[Kernel, ...]
    weights: bytes
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    verification_input: NDArray[np.float32]
    verification_output: NDArray[np.float32]
    backend: str = "opencl"
    preprocessing: dict[str, Any] | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the first input, batch first."""
        return self.buffers[self.inputs[0]].shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the first output, batch first."""
        return self.buffers[self.outputs[0]].shape

    @property
    def batch(self) -> int:
        """Images per run: the first dimension of the first input."""
        return self.input_shape[0] if self.input_shape else 1

    @property
    def precision(self) -> Precision:
        """``fp16`` when any buffer holds half floats, else ``fp32``."""
        return "fp16" if any(buffer.dtype == "float16" for buffer in self.buffers) else "fp32"

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(step.macs for step in self.steps)

    def weight_array(self, index: int) -> NDArray[Any]:
        """Read-only view of weight buffer ``index``, in its dtype and shape."""
        buffer = self.buffers[index]
        count = prod(buffer.shape)
        return np.frombuffer(self.weights, dtype=buffer.dtype, count=count, offset=buffer.offset).reshape(buffer.shape)
