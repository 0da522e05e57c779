"""Which ONNX operators the compiler takes, in one table, so that a refusal can say what is supported.

An operator outside the table is refused by name before TVM sees it; forms of the others that are refused are in
`operator_forms`.
"""

from __future__ import annotations

import difflib

import onnx

from .errors import UnsupportedOpError
from .operator_forms import GraphFacts, refused_form
from .passes.graph import Constants, node_label
from .passes.shapes import element_types, static_shapes

__all__ = ["SUPPORTED_OPERATORS", "check_operators"]

WEIGHTED = ("Conv", "Gemm", "MatMul", "BatchNormalization", "LayerNormalization")
POOLING = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum", "ReduceMax")
ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Neg", "Abs", "Sqrt", "Exp", "Log", "Pow", "Sum", "Reciprocal")
ACTIVATIONS = (
    *("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Gelu", "Erf", "Tanh", "Sigmoid"),
    *("HardSigmoid", "HardSwish", "Softplus", "Mish", "Softmax", "LogSoftmax"),
)
SHAPE = (
    *("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Slice", "Pad", "Split", "Expand", "Gather"),
    *("Identity", "Dropout", "Constant", "DepthToSpace", "SpaceToDepth", "Resize"),
)
SUPPORTED_OPERATORS = frozenset((*WEIGHTED, *POOLING, *ARITHMETIC, *ACTIVATIONS, *SHAPE))


def check_operators(model: onnx.ModelProto) -> None:
    """Refuse a model with an operator, or a form of one, that the compiler does not take; shapes must be inferred.

    Raises:
        UnsupportedOpError: Naming every such operator with a node that has it, and what is supported; or the first
            node in a form that is refused, and why.
    """
    graph = model.graph
    unknown: dict[str, str] = {}
    for node in graph.node:
        name = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        if name not in SUPPORTED_OPERATORS:
            unknown.setdefault(name, node.name or node.output[0])
    if unknown:
        raise UnsupportedOpError(_unknown_message(unknown))
    facts = GraphFacts(constants=Constants(graph), shapes=static_shapes(model), types=element_types(model))
    for node in graph.node:
        reason = refused_form(node, facts)
        if reason is not None:
            raise UnsupportedOpError(f"{node_label(node)}: {reason}")


def _unknown_message(unknown: dict[str, str]) -> str:
    parts = []
    for name, node in sorted(unknown.items()):
        near = difflib.get_close_matches(name, SUPPORTED_OPERATORS, n=1, cutoff=0.8)
        parts.append(f"{name!r} (node {node!r}{f'; did you mean {near[0]!r}?' if near else ''})")
    supported = ", ".join(sorted(SUPPORTED_OPERATORS))
    return f"unsupported ONNX operator {', '.join(parts)}; supported: {supported}"
