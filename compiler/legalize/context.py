"""What the legalizations of all operator families share: target, layouts, names, and the layers they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tvm import relax

from ..kernel_choice import UNTUNED, Decision, KernelChoice, TunedKernels, decide
from ..latency_model import computed_columns
from ..layer_shape import LayerShape
from ..memory.activation_layouts import ActivationLayouts
from ..select import Choice
from ..targets import Target

__all__ = [
    "FLOAT_BYTES",
    "LAYER_ANNOTATION",
    "OUT_ELEMENTWISE_FUSABLE",
    "Layer",
    "LegalizeContext",
    "call_te",
    "default_legalization",
    "weight_key",
]

FLOAT_BYTES = 4
LAYER_ANNOTATION = "act.layer"
OUT_ELEMENTWISE_FUSABLE = 4  # TVM's pattern kind of a convolution: elementwise consumers join it

HASH_CHUNK = 1 << 20
HASH_FACTORS = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)  # odd, so that multiplying loses nothing

Kind = Literal["conv", "linear", "pool"]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One convolution, linear or pooling layer: which kernel, and what the report says of it."""

    kind: Kind
    shape: LayerShape
    choice: Choice
    kernel: KernelChoice | None = None
    kernel_reason: str = ""
    batch: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates that the kernel does."""
        columns = computed_columns(self.shape, self.choice.lowering)
        height, width = self.shape.output_hw
        return 0 if self.kind == "pool" else self.batch * self.shape.c_out * columns * height * width


@dataclass
class LegalizeContext:
    """State of the legalization of one module.

    Attributes:
        target: What is compiled for.
        layouts: Of the activations.
        names: By `weight_key`, the source operators that have this weight, in order.
        inputs: Names of the network's inputs, which have no halo and end with their last element: a
            convolution reads a copy.
        tables: Constant tables of gathers, by the name of the value that equals them.
        tuned: Kernels that a device chose.
        layers: What was made so far; `LAYER_ANNOTATION` is an index into it.
    """

    target: Target
    layouts: ActivationLayouts
    names: dict[str, list[str]]
    inputs: frozenset[str]
    tables: dict[str, relax.Expr] = field(default_factory=dict)
    tuned: TunedKernels = UNTUNED
    layers: list[Layer] = field(default_factory=list)

    def decide(self, shape: LayerShape, batch: int) -> Decision:
        """The kernel of a layer."""
        return decide(shape, batch, self.target, self.tuned)

    def add_decided(self, kind: Kind, shape: LayerShape, batch: int, decision: Decision) -> dict[str, Any]:
        """Keep a layer with the kernel that was decided for it; as `add`."""
        return self.add(
            Layer(
                kind=kind,
                shape=shape,
                choice=decision.lowering,
                kernel=decision.kernel,
                kernel_reason=decision.reason,
                batch=batch,
            )
        )

    def add(self, layer: Layer) -> dict[str, Any]:
        """Keep a layer; returns the annotation of its main block."""
        self.layers.append(layer)
        return {LAYER_ANNOTATION: len(self.layers) - 1}

    def is_input(self, value: relax.Expr) -> bool:
        """Whether a value is an input of the network."""
        return isinstance(value, relax.Var) and value.name in self.inputs

    def name(self, values: npt.NDArray[np.float32], stem: str) -> str:
        """Name of the next source operator with this weight."""
        names = self.names.get(weight_key(values), [])
        return names.pop(0) if names else f"{stem}_{len(self.layers)}"

    def parts(self, features: int, step: int, feature_bytes: int) -> list[slice]:
        """Output features in as few equal runs, of whole steps, as the target's largest buffer asks for."""
        largest = max(1, self.target.max_buffer_bytes // (step * feature_bytes))
        steps = -(-features // step)
        count = -(-steps // largest)
        size = -(-steps // count) * step
        return [slice(start, min(start + size, features)) for start in range(0, features, size)]


def weight_key(values: npt.NDArray[Any]) -> str:
    """Identity of a float32 weight whatever its layout: sums, modulo 2^64, of two hashes of every value."""
    bits = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32)
    sums = [0, 0]
    for start in range(0, bits.size, HASH_CHUNK):
        mixed = bits[start : start + HASH_CHUNK].astype(np.uint64)
        for index, factor in enumerate(HASH_FACTORS):
            mixed = (mixed + np.uint64(1)) * np.uint64(factor)
            mixed ^= mixed >> np.uint64(29)
            sums[index] = (sums[index] + int(mixed.sum(dtype=np.uint64))) % 2**64
    return f"{bits.size}:{sums[0]:016x}{sums[1]:016x}"


def call_te(
    builder: relax.BlockBuilder, function: Callable[..., Any], arguments: list[relax.Expr], name: str
) -> relax.Expr:
    """A call of a function written with ``te``, which elementwise consumers may join."""
    return builder.call_te(
        function, *arguments, primfunc_name_hint=name, primfunc_attrs={"op_pattern": OUT_ELEMENTWISE_FUSABLE}
    )


def default_legalization(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """TVM's own definition of an operator."""
    return call.op.get_attr("FLegalize")(builder, call)
