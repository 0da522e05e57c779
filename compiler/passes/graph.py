"""Small helpers on ONNX graphs that the rewrites share: constants by name, consumers, clean-up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, MutableSequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

__all__ = [
    "Constants",
    "GraphBuilder",
    "consumer_counts",
    "drop_unused",
    "fresh_name",
    "node_attribute",
    "node_label",
    "opset_version",
    "replace_nodes",
]


class Constants(Mapping[str, npt.NDArray[Any]]):
    """Every initializer and ``Constant`` output of a graph that holds a tensor, by name; decoded when asked for.

    A view of the graph as it is now: rewriting the graph makes it stale.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        for node in graph.node:
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                array = _constant_array(node)
                if array is not None:
                    self._arrays[node.output[0]] = array

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(self._tensors[name])
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays or name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays.keys() | self._tensors.keys())

    def __len__(self) -> int:
        return len(self._arrays.keys() | self._tensors.keys())

    def add(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add constants that are not in the graph yet."""
        self._arrays.update(arrays)

    def is_float32(self, name: str) -> bool:
        """Whether the constant exists and has that type; does not decode it."""
        if name in self._arrays:
            return self._arrays[name].dtype == np.float32
        return name in self._tensors and bool(self._tensors[name].data_type == onnx.TensorProto.FLOAT)


def _constant_array(node: onnx.NodeProto) -> npt.NDArray[Any] | None:
    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        array: npt.NDArray[Any] = numpy_helper.to_array(value)
        return array
    if attribute.name in ("value_int", "value_ints"):
        return np.asarray(value, dtype=np.int64)
    if attribute.name in ("value_float", "value_floats"):
        return np.asarray(value, dtype=np.float32)
    return None


class GraphBuilder:
    """Collects the nodes that will replace a graph's; new values get names that the graph does not use.

    Attributes:
        nodes: In execution order.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._graph = graph
        self._used = _names(graph)

    def constant(self, stem: str, array: npt.NDArray[Any]) -> str:
        """Add an initializer; returns its name."""
        name = self._fresh(stem)
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def emit(self, kind: str, inputs: list[str], stem: str, *, name: str = "", **attributes: object) -> str:
        """Add a node with one new output; returns the output's name."""
        output = self._fresh(stem)
        self.nodes.append(onnx.helper.make_node(kind, inputs, [output], name=name or output, **attributes))
        return output

    def _fresh(self, stem: str) -> str:
        name, number = stem, 1
        while name in self._used:
            name, number = f"{stem}_{number}", number + 1
        self._used.add(name)
        return name


def consumer_counts(graph: onnx.GraphProto) -> Counter[str]:
    """How often each value is read, by nodes and as a graph output."""
    counts = Counter(name for node in graph.node for name in node.input if name)
    counts.update(output.name for output in graph.output)
    return counts


def node_label(node: onnx.NodeProto) -> str:
    """The node as an error names it: its name, or its first output where it has none."""
    return f"{node.op_type} {(node.name or node.output[0])!r}"


def fresh_name(graph: onnx.GraphProto, stem: str) -> str:
    """A value name that the graph does not use, ``stem`` where free."""
    used = _names(graph)
    name, number = stem, 1
    while name in used:
        name, number = f"{stem}_{number}", number + 1
    return name


def _names(graph: onnx.GraphProto) -> set[str]:
    names = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
    names.update(name for node in graph.node for name in (*node.input, *node.output))
    return names


def node_attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:  # noqa: ANN401 - as many types as ONNX has
    """Value of a node's attribute."""
    found = next((attribute for attribute in node.attribute if attribute.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)


def opset_version(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators that the model uses."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Put ``nodes`` in the place of the graph's nodes."""
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and initializers that no output depends on, and initializers' entries among the inputs."""
    needed = {output.name for output in graph.output}
    for index in range(len(graph.node) - 1, -1, -1):
        node = graph.node[index]
        if needed.intersection(node.output):
            needed.update(node.input)
        else:
            del graph.node[index]
    names = {tensor.name for tensor in graph.initializer}
    _keep(graph.initializer, {name for name in names if name in needed})
    _keep(graph.input, {value.name for value in graph.input} - names)


def _keep(field: MutableSequence[Any], names: set[str]) -> None:
    """Delete in place: weights may be large, so nothing is copied."""
    for index in range(len(field) - 1, -1, -1):
        if field[index].name not in names:
            del field[index]
