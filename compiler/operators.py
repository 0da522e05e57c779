"""Which ONNX operators the compiler takes, in one table, so that a refusal can say what is supported.

An operator outside the table is refused by name before TVM sees it. A few in the table have forms that are refused too.
"""

from __future__ import annotations

import difflib

import onnx

from .errors import UnsupportedOpError
from .passes.graph import Constants, node_label

__all__ = ["SUPPORTED_OPERATORS", "check_operators"]

WEIGHTED = ("Conv", "Gemm", "MatMul", "BatchNormalization")
POOLING = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum", "ReduceMax")
ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Neg", "Abs", "Sqrt", "Exp", "Log", "Pow", "Sum", "Reciprocal")
ACTIVATIONS = (
    *("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Gelu", "Erf", "Tanh", "Sigmoid"),
    *("HardSigmoid", "HardSwish", "Softplus", "Mish", "Softmax", "LogSoftmax"),
)
SHAPE = (
    *("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Slice", "Pad", "Split", "Expand", "Gather"),
    *("Identity", "Dropout", "Constant", "DepthToSpace", "SpaceToDepth"),
)
SUPPORTED_OPERATORS = frozenset((*WEIGHTED, *POOLING, *ARITHMETIC, *ACTIVATIONS, *SHAPE))


def check_operators(model: onnx.ModelProto) -> None:
    """Refuse a model with an operator, or a form of one, that the compiler does not take.

    Raises:
        UnsupportedOpError: Naming every such operator with a node that has it, and what is supported.
    """
    graph = model.graph
    unknown: dict[str, str] = {}
    for node in graph.node:
        name = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        if name not in SUPPORTED_OPERATORS:
            unknown.setdefault(name, node.name or node.output[0])
    if unknown:
        raise UnsupportedOpError(_unknown_message(unknown))
    constants = Constants(graph)
    for node in graph.node:
        reason = _refused_form(node, constants)
        if reason is not None:
            raise UnsupportedOpError(f"{node_label(node)}: {reason}")


def _unknown_message(unknown: dict[str, str]) -> str:
    parts = []
    for name, node in sorted(unknown.items()):
        near = difflib.get_close_matches(name, SUPPORTED_OPERATORS, n=1, cutoff=0.8)
        parts.append(f"{name!r} (node {node!r}{f'; did you mean {near[0]!r}?' if near else ''})")
    supported = ", ".join(sorted(SUPPORTED_OPERATORS))
    return f"unsupported ONNX operator {', '.join(parts)}; supported: {supported}"


def _refused_form(node: onnx.NodeProto, constants: Constants) -> str | None:
    """Why this form of a supported operator is refused, or None."""
    if node.op_type == "Conv":
        if node.input[1] not in constants:
            return "the weight must be a constant"
        if len(_ints(node, "kernel_shape", (1, 1))) != 2:
            return "only 2-D convolution is supported"
    if node.op_type == "Gemm" and node.input[1] not in constants:
        return "the second input (the weight) must be a constant"
    if node.op_type == "Gather" and node.input[1] not in constants:
        return "the indices must be constant"
    if node.op_type in ("MaxPool", "Dropout", "BatchNormalization") and len([o for o in node.output if o]) > 1:
        return "only the first output is supported (an inference graph)"
    return None


def _ints(node: onnx.NodeProto, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    return next((tuple(a.ints) for a in node.attribute if a.name == name), default)
