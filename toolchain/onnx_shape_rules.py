"""Rules for operators that move or cut values and compute nothing: reshape, pad, slice, transpose, concat, gather."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx

from ..models.layers import ChannelPad
from .capture import CAPTURE_BATCH
from .onnx_graph import GraphWriter, NoRuleError
from .operators import SPLITS, TRANSPOSITIONS, argument

__all__ = ["concat", "expand", "item", "pad", "permuted_channels", "reshape", "transposed"]


def reshape(w: GraphWriter, node: fx.Node) -> str:
    """A reshape that leaves the batch alone."""
    before, after = w.source_shape(node), w.shape(node)
    if before[0] != CAPTURE_BATCH or after[0] != CAPTURE_BATCH or len(after) < 2:
        raise NoRuleError(f"reshape {node.name!r}, which mixes the batch with other dimensions")
    if before == after:
        return w.value(node)
    if len(after) == 2:
        return w.emit(node, "Flatten", [w.value(node)], axis=1)
    sizes = w.constant(f"/{node.name}/shape", np.array([0, *after[1:]], dtype=np.int64))
    return w.emit(node, "Reshape", [w.value(node), sizes])


def expand(w: GraphWriter, node: fx.Node) -> str:
    """Sizes of 1 repeated, within the same number of dimensions."""
    before, after = w.source_shape(node), w.shape(node)
    if len(before) != len(after) or before[0] != after[0]:
        raise NoRuleError(f"expansion {node.name!r} to more dimensions")
    sizes = w.constant(f"/{node.name}/shape", np.array([1, *after[1:]], dtype=np.int64))
    return w.emit(node, "Expand", [w.value(node), sizes])


def pad(w: GraphWriter, node: fx.Node) -> str:
    """Constant padding of pixels or channels."""
    if node.op == "call_module":
        module: Any = w.module_of(node)
        channels = isinstance(module, ChannelPad)
        widths = (0, 0, 0, 0, module.before, module.after) if channels else tuple(module.padding)
        value = 0.0
    else:
        widths, value = argument(node, 1, "pad"), argument(node, 3, "value") or 0.0
        if argument(node, 2, "mode", "constant") != "constant" or not all(isinstance(width, int) for width in widths):
            raise NoRuleError(f"pad {node.name!r} of this form")
    rank = len(w.shape(node))
    before, after = [0] * rank, [0] * rank
    for i in range(len(widths) // 2):  # torch names the last dimension first
        before[rank - 1 - i], after[rank - 1 - i] = widths[2 * i], widths[2 * i + 1]
    pads = w.constant(f"/{node.name}/pads", np.array([*before, *after], dtype=np.int64))
    fill = w.constant(f"number.{float(value)!r}", np.array(value, dtype=np.float32))
    return w.emit(node, "Pad", [w.value(node), pads, fill])


def item(w: GraphWriter, node: fx.Node) -> str:
    """A part of a split, or a slice."""
    source = node.args[0]
    if isinstance(source, fx.Node) and source.target in SPLITS:
        sizes: Any = source.args[1]
        number = int(node.args[1])  # type: ignore[arg-type]
        start = sum(sizes[:number])
        cut = (start, start + sizes[number], argument(source, 2, "dim", 0), 1)
        return _cut(w, node, w.value(source, 0), [cut])
    return _slice(w, node)


def _slice(w: GraphWriter, node: fx.Node) -> str:
    index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    cuts: list[tuple[int, int, int, int]] = []
    for axis, part in enumerate(index):
        if not isinstance(part, slice) or any(isinstance(p, fx.Node) for p in (part.start, part.stop, part.step)):
            raise NoRuleError(f"index {node.name!r} of this form")
        if part != slice(None):
            end = np.iinfo(np.int64).max if part.stop is None else part.stop
            cuts.append((part.start or 0, int(end), axis, part.step or 1))
    return _cut(w, node, w.value(node, 0), cuts) if cuts else w.value(node, 0)


def _cut(w: GraphWriter, node: fx.Node, value: str, cuts: list[tuple[int, int, int, int]]) -> str:
    """Slice ``value``; each cut is (start, end, axis, step)."""
    names = ("starts", "ends", "axes", "steps")
    columns = [np.array(column, dtype=np.int64) for column in zip(*cuts, strict=True)]
    inputs = [w.constant(f"/{node.name}/{name}", column) for name, column in zip(names, columns, strict=True)]
    return w.emit(node, "Slice", [value, *inputs])


def permuted_channels(w: GraphWriter, node: fx.Node) -> str:
    """Channels in another order."""
    module: Any = w.module_of(node)
    order = w.constant(f"{node.target}.order", module.order.cpu().numpy())
    return w.emit(node, "Gather", [w.value(node), order], axis=1)


def transposed(w: GraphWriter, node: fx.Node) -> str:
    """A permutation or exchange of dimensions."""
    rank = len(w.shape(node))
    numbers: Any = node.args[1:]
    numbers = numbers[0] if len(numbers) == 1 and isinstance(numbers[0], tuple | list) else numbers
    if node.kwargs or not all(isinstance(number, int) for number in numbers):
        raise NoRuleError(f"transposition {node.name!r} of this form")
    order = [number % rank for number in numbers]
    if node.target in TRANSPOSITIONS:
        (first, second), order = order, list(range(rank))
        order[first], order[second] = second, first
    return w.emit(node, "Transpose", [w.value(node)], perm=order)


def concat(w: GraphWriter, node: fx.Node) -> str:
    """A concatenation."""
    parts: Any = argument(node, 0, "tensors")
    if not all(part in w.names for part in parts):
        raise NoRuleError(f"concatenation {node.name!r} of this form")
    return w.emit(node, "Concat", [w.names[part] for part in parts], axis=int(argument(node, 1, "dim", 0)))
