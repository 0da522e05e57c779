"""Forms of supported ONNX operators that are refused, each with the reason and what would work.

A rule gets a node and the facts of its graph, and returns why the node is refused, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import onnx

from .passes.graph import Constants, node_attribute

__all__ = ["GraphFacts", "refused_form"]


@dataclass(frozen=True, kw_only=True)
class GraphFacts:
    """What rules may ask: constants, static shapes, and element types (ONNX's numbers), by name of the value."""

    constants: Constants
    shapes: dict[str, tuple[int, ...]]
    types: dict[str, int]


Rule: TypeAlias = Callable[[onnx.NodeProto, GraphFacts], str | None]


def refused_form(node: onnx.NodeProto, facts: GraphFacts) -> str | None:
    """Why this form of a supported operator is refused, or None."""
    for index, what in _CONSTANT_INPUTS.get(node.op_type, ()):
        name = node.input[index] if len(node.input) > index else ""
        if name and name not in facts.constants:
            return f"{what} must be a constant of the file; {name!r} is computed"
    rule = _RULES.get(node.op_type)
    reason = None if rule is None else rule(node, facts)
    return reason or _refused_values(node, facts)


def _refused_values(node: onnx.NodeProto, facts: GraphFacts) -> str | None:
    """Numbers other than float32, and results that have no fixed shape."""
    for name in node.input:
        if facts.types.get(name) in _OTHER_FLOATS:
            shown = onnx.TensorProto.DataType.Name(facts.types[name]).lower()
            return f"its input {name!r} has type {shown}; only float32 is computed: export the network in float32"
    for name in (name for name in node.output if name):
        kind = facts.types.get(name, onnx.TensorProto.FLOAT)
        if kind != onnx.TensorProto.FLOAT:
            shown = onnx.TensorProto.DataType.Name(kind).lower()
            return f"its result {name!r} has type {shown}; only float32 is computed: export the network in float32"
        if name not in facts.shapes:
            return (
                f"the shape of its result {name!r} is not known before the network runs: fix the input's size with "
                "--input-shape, or leave out what depends on the values of an image"
            )
        if 0 in facts.shapes[name]:
            return f"its result {name!r} has shape {facts.shapes[name]}, no elements: give larger images"
    return None


def _conv(node: onnx.NodeProto, facts: GraphFacts) -> str | None:
    rank = len(facts.constants[node.input[1]].shape) if node.input[1] in facts.constants else 4
    kernel = node_attribute(node, "kernel_shape", [1] * (rank - 2))
    if rank != 4 or len(kernel) != 2:
        return f"only 2-D convolution, of (N, C, H, W), is supported; this one has {len(kernel)}-D kernels"
    return None


def _gather(node: onnx.NodeProto, facts: GraphFacts) -> str | None:
    if node.input[0] not in facts.shapes:
        return None
    shape, table = facts.shapes[node.input[0]], facts.constants[node.input[1]]
    size = shape[node_attribute(node, "axis", 0) % len(shape)]
    if table.size and not -size <= table.min() <= table.max() < size:
        return f"its table has an index outside of {-size}..{size - 1}"
    return None


def _first_output_only(node: onnx.NodeProto, _: GraphFacts) -> str | None:
    used = len([name for name in node.output if name])
    return "only the first output is supported (an inference graph)" if used > 1 else None


def _pool(node: onnx.NodeProto, facts: GraphFacts) -> str | None:
    rank = len(facts.shapes.get(node.input[0], (0, 0, 0, 0)))
    if rank != 4:
        return f"only 2-D pooling, of (N, C, H, W), is supported; this one reads {rank} dimensions"
    if node_attribute(node, "ceil_mode", 0) and _has_empty_windows(node, facts):
        return "in ceil mode its last windows lie outside of the image: choose other pads, or leave ceil_mode out"
    return _first_output_only(node, facts)


def _has_empty_windows(node: onnx.NodeProto, facts: GraphFacts) -> bool:
    """Whether a window begins beyond the image: onnx counts it in the shape, runtimes do not."""
    before, after = facts.shapes.get(node.input[0], ()), facts.shapes.get(node.output[0], ())
    strides, pads = node_attribute(node, "strides", [1, 1]), node_attribute(node, "pads", [0] * 4)
    sizes = zip(before[2:], after[2:], strides, pads[:2], strict=False)
    return any((count - 1) * stride >= size + pad for size, count, stride, pad in sizes)


def _batch_norm(node: onnx.NodeProto, facts: GraphFacts) -> str | None:
    if node_attribute(node, "training_mode", 0):
        return "it is in training mode; export the network in evaluation mode"
    return _first_output_only(node, facts)


def _resize(node: onnx.NodeProto, facts: GraphFacts) -> str | None:
    mode = node_attribute(node, "mode", b"nearest").decode()
    coordinates = node_attribute(node, "coordinate_transformation_mode", b"half_pixel").decode()
    before, after = (facts.shapes.get(name, ()) for name in (node.input[0], node.output[0]))
    if mode not in ("nearest", "linear"):
        return f"mode {mode!r} is not supported; 'nearest' and 'linear' are"
    if coordinates not in _COORDINATES:
        return f"coordinates {coordinates!r} are not supported; {', '.join(map(repr, _COORDINATES))} are"
    if node_attribute(node, "antialias", 0) or node_attribute(node, "axes", None):
        return "antialias and axes are not supported; resize height and width without them"
    if len(before) != 4 or before[:2] != after[:2]:
        return f"only height and width of (N, C, H, W) can change, not {before} to {after}"
    return _resize_scales(node, facts, before, after)


def _resize_scales(
    node: onnx.NodeProto, facts: GraphFacts, before: tuple[int, ...], after: tuple[int, ...]
) -> str | None:
    """Coordinates follow from the sizes here; from rounded scales they would be others."""
    if len(node.input) < 3 or not node.input[2] or not facts.constants[node.input[2]].size:
        return None
    scales = facts.constants[node.input[2]].tolist()
    if any(abs(scale * size - result) > 1e-3 for scale, size, result in zip(scales, before, after, strict=True)):
        return f"scales {scales} of {before} give no whole sizes; give sizes in their place"
    return None


def _pad(node: onnx.NodeProto, facts: GraphFacts) -> str | None:
    mode = node_attribute(node, "mode", b"constant").decode()
    if mode not in ("constant", "reflect", "edge"):
        return f"mode {mode!r} is not supported; 'constant', 'reflect' and 'edge' are"
    if len(node.input) > 1 and (facts.constants[node.input[1]] < 0).any():
        return "negative pads are not supported; cut with a Slice"
    return None


_OTHER_FLOATS = frozenset((onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE))
_COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
_CONSTANT_INPUTS: dict[str, tuple[tuple[int, str], ...]] = {
    "BatchNormalization": tuple((index, "its scale, bias and statistics") for index in (1, 2, 3, 4)),
    "Clip": ((1, "the lower limit"), (2, "the upper limit")),
    "Conv": ((1, "the weight"), (2, "the bias")),
    "Expand": ((1, "the shape"),),
    "Gather": ((1, "the table of indices"),),
    "Gemm": ((1, "the second input (the weight)"),),
    "LayerNormalization": ((1, "the scale"), (2, "the bias")),
    "Pad": ((1, "the list of pads"), (2, "the value"), (3, "the list of axes")),
    "PRelu": ((1, "the slope"),),
    "ReduceMax": ((1, "the list of axes"),),
    "ReduceMean": ((1, "the list of axes"),),
    "ReduceSum": ((1, "the list of axes"),),
    "Reshape": ((1, "the shape"),),
    "Resize": ((2, "the scales"), (3, "the sizes")),
    "Slice": tuple((index, "the bounds") for index in (1, 2, 3, 4)),
    "Split": ((1, "the sizes"),),
    "Squeeze": ((1, "the list of axes"),),
    "Unsqueeze": ((1, "the list of axes"),),
}
_RULES: dict[str, Rule] = {
    "AveragePool": _pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "Dropout": _first_output_only,
    "Gather": _gather,
    "GlobalAveragePool": _pool,
    "GlobalMaxPool": _pool,
    "LayerNormalization": _first_output_only,
    "MaxPool": _pool,
    "Pad": _pad,
    "Resize": _resize,
}
