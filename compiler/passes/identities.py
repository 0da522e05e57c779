"""Drop operators that change nothing: what they read takes the place of what they write.

    Identity, Dropout, pools of 1x1 with stride 1, reshapes, transpositions, expansions and pads that keep everything

One whose result is an output of the graph stays, since outputs keep their names.
"""

from __future__ import annotations

import onnx

from .graph import Constants, drop_unused, node_attribute, replace_nodes
from .shapes import static_shapes

__all__ = ["drop_identities"]

SAME_BY_SHAPE = frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Concat"))


def drop_identities(model: onnx.ModelProto) -> int:
    """Rewrite in place, shapes inferred before; returns how many nodes were dropped."""
    graph = model.graph
    shapes, constants = static_shapes(model), Constants(graph)
    outputs = {output.name for output in graph.output}
    renamed: dict[str, str] = {}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in renamed:
                node.input[index] = renamed[name]
        if node.output[0] not in outputs and _changes_nothing(node, shapes, constants):
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    if renamed:
        replace_nodes(graph, kept)
        drop_unused(graph)
    return len(renamed)


def _changes_nothing(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]], constants: Constants) -> bool:
    if not node.input or any(node.output[1:]):
        return False
    if node.op_type in ("Identity", "Dropout"):
        return True
    before = shapes.get(node.input[0])
    if before is None or before != shapes.get(node.output[0]):
        return False
    if node.op_type == "Transpose":
        return list(node_attribute(node, "perm", [])) == list(range(len(before)))
    if node.op_type in ("AveragePool", "MaxPool"):
        return set(node_attribute(node, "kernel_shape", [0])) == {1} and not any(node_attribute(node, "pads", []))
    if node.op_type == "Pad":  # of equal size, it may still shift
        return len(node.input) > 1 and node.input[1] in constants and not constants[node.input[1]].any()
    return node.op_type in SAME_BY_SHAPE
