"""Relax operators become our TIR: convolution, linear and pooling with the schedules' own definitions.

Each is built with ``te`` and marked by the annotation ``act.layer`` on its main block, an index into
`Legalizer.layers`, where shape, lowering and reason are kept. One file an operator family. Operators
not listed here get TVM's own definition and the generic schedule. Operators that only change the shape, join channels
or cut them stay Relax operators: `lower` makes them views.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import tvm
from tvm import relax

from ..memory.activation_layouts import CHANNEL_AXIS, CONCAT, VIEW_OPERATORS, channel_slice, split_axis
from .broadcast import BROADCASTS, legalize_broadcast
from .context import LAYER_ANNOTATION, Layer, LegalizeContext, default_legalization, weight_key
from .conv import legalize_conv
from .gather import legalize_take
from .linear import legalize_matmul
from .pool import legalize_adaptive_pool, legalize_mean, legalize_pool

__all__ = ["LAYER_ANNOTATION", "Layer", "Legalizer", "has_computed_weights", "weight_key"]


@dataclass
class Legalizer(LegalizeContext):
    """Custom legalizations for one module; collects what it made in ``layers``."""

    def table(self) -> dict[str, Callable[[relax.BlockBuilder, relax.Call], relax.Expr]]:
        """The map for ``LegalizeOps``."""
        return {
            "relax.nn.conv2d": partial(legalize_conv, self),
            "relax.matmul": partial(legalize_matmul, self),
            "relax.nn.max_pool2d": partial(legalize_pool, self),
            "relax.nn.avg_pool2d": partial(legalize_pool, self),
            "relax.nn.adaptive_avg_pool2d": partial(legalize_adaptive_pool, self),
            "relax.mean": partial(legalize_mean, self),
            "relax.take": partial(legalize_take, self),
            "relax.nn.dropout": _dropout,
            CONCAT: _keep_channel_parts,
            "relax.split": _keep_channel_parts,
            "relax.strided_slice": _keep_channel_slices,
            **dict.fromkeys(VIEW_OPERATORS, _keep),
            **dict.fromkeys(BROADCASTS, legalize_broadcast),
        }


def has_computed_weights(module: tvm.IRModule) -> bool:
    """Whether a convolution or a product has a weight that is not a constant yet."""
    values = (binding.value for block in module["main"].body.blocks for binding in block.bindings)
    return any(
        value.op.name in ("relax.nn.conv2d", "relax.matmul") and not isinstance(value.args[1], tvm.ir.GenericConst)
        for value in values
        if isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op)
    )


def _keep(_: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    return call


def _keep_channel_parts(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Concatenations and splits of channels are places in memory; along other axes they are kernels."""
    return call if split_axis(call) == CHANNEL_AXIS else default_legalization(builder, call)


def _keep_channel_slices(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    return call if channel_slice(call) is not None else default_legalization(builder, call)


def _dropout(_: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Inference: the input itself, and in the mask's place, which nothing reads, too."""
    return relax.Tuple([call.args[0], call.args[0]])
