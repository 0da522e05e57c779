"""Compute at import time what depends on constants and static shapes alone.

Exporters write the target of a reshape as Shape -> Gather -> Concat, and weights as arithmetic on initializers. With
the batch fixed all of it is constant. Only operators in `FOLDABLE` are evaluated (with onnx's reference evaluator), and
only into results whose inferred size is known and moderate: a file cannot make the importer allocate without bound.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from .graph import Constants, drop_unused, replace_nodes
from .shapes import infer_shapes, static_shapes

__all__ = ["fold_constants"]

FOLDABLE_NAMES = """
    Add And Cast CastLike Ceil Concat ConstantOfShape Div Equal Expand Floor Gather Greater Identity Less Max Min Mod
    Mul Neg Not Or Pow Range ReduceProd Reshape ScatterElements ScatterND Shape Size Slice Split Sqrt Squeeze Sub
    Transpose Unsqueeze Where
"""
FOLDABLE = frozenset(FOLDABLE_NAMES.split())
MAX_ELEMENTS = 1 << 27
MAX_ROUNDS = 8


def fold_constants(model: onnx.ModelProto) -> None:
    """Infer shapes and turn constant subgraphs into initializers, in place, until nothing changes.

    Raises:
        onnx.shape_inference.InferenceError: If shapes contradict each other.
    """
    for _ in range(MAX_ROUNDS):
        infer_shapes(model)
        if not _fold_once(model):
            return


def _fold_once(model: onnx.ModelProto) -> bool:
    graph = model.graph
    shapes, constants = static_shapes(model), Constants(graph)
    opset = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    kept: list[onnx.NodeProto] = []
    folded: dict[str, npt.NDArray[Any]] = {}
    for node in graph.node:
        values = _evaluate(node, shapes, constants, opset)
        if values is None:
            kept.append(node)
            continue
        constants.add(values)
        folded.update(values)
    if not folded:
        return False
    replace_nodes(graph, kept)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in folded.items())
    drop_unused(graph)
    return True


def _evaluate(
    node: onnx.NodeProto,
    shapes: dict[str, tuple[int, ...]],
    constants: Constants,
    opset: list[onnx.OperatorSetIdProto],
) -> dict[str, npt.NDArray[Any]] | None:
    """Values of the node's outputs, or None if it has to stay."""
    if node.op_type == "Constant" and node.output[0] in constants:
        return {node.output[0]: constants[node.output[0]]}
    if node.op_type == "Shape" and node.domain == "" and node.input[0] in shapes:
        bounds = {a.name: a.i for a in node.attribute}
        dims = shapes[node.input[0]][slice(bounds.get("start", 0), bounds.get("end"))]
        return {node.output[0]: np.asarray(dims, dtype=np.int64)}
    if node.op_type not in FOLDABLE or node.domain not in ("", "ai.onnx"):
        return None
    if not all(name in constants for name in node.input if name):
        return None
    if not all(math.prod(shapes.get(name, (MAX_ELEMENTS + 1,))) <= MAX_ELEMENTS for name in node.output):
        return None
    try:
        evaluator = ReferenceEvaluator(node, opsets={"": opset[0].version})
        results = evaluator.run(None, {name: constants[name] for name in node.input if name})
    except Exception:  # the evaluator raises anything; the node then stays and is judged as an operator
        return None
    return {name: np.asarray(result) for name, result in zip(node.output, results, strict=True)}
