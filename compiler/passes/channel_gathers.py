"""Channel shuffles, and gathers of channels by a constant table, as cheap as they get.

    Reshape (N, g, c, H, W) -> Transpose (0, 2, 1, 3, 4) -> Reshape    =>  Gather of channels
    Gather -> Slice or Split of channels                               =>  a Gather of those channels each
    Gather of neighbouring channels                                    =>  Slice, which lies inside its source
    Gather of all channels, read by one convolution                    =>  the convolution's weight permuted
    Gather of all values, in order, from a list                        =>  Reshape

What is left is one kernel that copies the gathered channels, straight into a concatenation where one reads them.
Tables become int32: no kernel needs 64-bit indices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from .graph import Constants, GraphBuilder, consumer_counts, drop_unused, node_attribute, opset_version, replace_nodes
from .shapes import infer_shapes, static_shapes

__all__ = ["simplify_channel_gathers"]

SLICE_BY_INPUTS_OPSET = 10
SHUFFLE_ORDER = [0, 2, 1, 3, 4]

Table = npt.NDArray[np.int64]


def simplify_channel_gathers(model: onnx.ModelProto) -> int:
    """Rewrite in place, shapes inferred before and after; returns how many rewrites were done."""
    rules: tuple[Callable[[_Graph], int], ...] = (_find_shuffles, _cut_tables, _fold_permutations, _write_tables)
    total = 0
    for rule in rules:
        graph = _Graph.of(model)
        if rule is not _find_shuffles and not any(node.op_type == "Gather" for node in graph.nodes):
            break
        count = rule(graph)
        if count:
            replace_nodes(model.graph, graph.builder.nodes)
            drop_unused(model.graph)
            infer_shapes(model)
        total += count
    return total


@dataclass
class _Graph:
    """What the rules look up.

    Attributes:
        nodes: Of the graph, in order.
        producers: Node of each value.
        gathers: Source and table of each value that is a gather of channels.
        counts: How often each value is read.
    """

    opset: int
    nodes: list[onnx.NodeProto]
    producers: dict[str, onnx.NodeProto]
    shapes: dict[str, tuple[int, ...]]
    constants: Constants
    builder: GraphBuilder
    gathers: dict[str, tuple[str, Table]]
    counts: Counter[str]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> _Graph:
        graph, shapes, constants = model.graph, static_shapes(model), Constants(model.graph)
        nodes = list(graph.node)
        return cls(
            opset=opset_version(model),
            nodes=nodes,
            producers={name: node for node in nodes for name in node.output},
            shapes=shapes,
            constants=constants,
            builder=GraphBuilder(graph),
            gathers={
                node.output[0]: (node.input[0], table)
                for node in nodes
                if (table := _gather_table(node, shapes, constants)) is not None
            },
            counts=consumer_counts(graph),
        )

    def gather(self, node: onnx.NodeProto, output: str, source: str, table: Table) -> None:
        """Emit a gather of channels with the name of the node in whose place it comes."""
        name = self.builder.constant(f"{output}.table", table.astype(np.int32))
        self.builder.nodes.append(
            onnx.helper.make_node("Gather", [source, name], [output], name=node.name or output, axis=1)
        )


def _gather_table(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]], constants: Constants) -> Table | None:
    """Channels that a gather takes, counted from 0; None for any other operator."""
    if node.op_type != "Gather" or node.input[1] not in constants or node.input[0] not in shapes:
        return None
    shape, table = shapes[node.input[0]], constants[node.input[1]]
    if len(shape) < 2 or table.ndim != 1 or node_attribute(node, "axis", 0) % len(shape) != 1:
        return None
    return np.where(table < 0, table + shape[1], table).astype(np.int64)


def _find_shuffles(graph: _Graph) -> int:
    found = 0
    for node in graph.nodes:
        shuffle = _shuffle(graph, node)
        if shuffle is None:
            graph.builder.nodes.append(node)
            continue
        source, groups = shuffle
        channels = graph.shapes[source][1]
        graph.gather(node, node.output[0], source, np.arange(channels).reshape(groups, -1).T.reshape(-1))
        found += 1
    return found


def _shuffle(graph: _Graph, node: onnx.NodeProto) -> tuple[str, int] | None:
    """Source and groups of a shuffle that ends in this node."""
    swap = graph.producers.get(node.input[0]) if node.op_type == "Reshape" else None
    if swap is None or swap.op_type != "Transpose" or list(node_attribute(swap, "perm", [])) != SHUFFLE_ORDER:
        return None
    spread = graph.producers.get(swap.input[0])
    if spread is None or spread.op_type != "Reshape":
        return None
    source, shapes = spread.input[0], graph.shapes
    before, middle, after = (shapes.get(name, ()) for name in (source, spread.output[0], node.output[0]))
    fits = len(before) == 4 and before == after and (*middle[:1], *middle[3:]) == (before[0], *before[2:])
    return (source, middle[1]) if fits and middle[1] * middle[2] == before[1] else None


def _cut_tables(graph: _Graph) -> int:
    """Slices and splits of a gather gather their own channels."""
    count = 0
    for node in graph.nodes:
        source = graph.gathers.get(node.input[0]) if node.op_type in ("Slice", "Split") else None
        cuts = None if source is None else _cuts(graph, node)
        if source is None or cuts is None:
            graph.builder.nodes.append(node)
            continue
        for output, cut in zip(node.output, cuts, strict=True):
            graph.gather(node, output, source[0], source[1][cut])
        count += 1
    return count


def _cuts(graph: _Graph, node: onnx.NodeProto) -> list[slice] | None:
    """The channels of each output; None if other axes are cut too."""
    shape = graph.shapes[node.input[0]]
    if node.op_type == "Split":
        if node_attribute(node, "axis", 0) % len(shape) != 1 or not all(name in graph.shapes for name in node.output):
            return None
        ends = np.cumsum([graph.shapes[name][1] for name in node.output]).tolist()
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    if len(node.input) < 3 or not all(name in graph.constants for name in node.input[1:] if name):
        return None
    values = [graph.constants[name].tolist() if name else None for name in node.input[1:]]
    starts, ends = values[0] or [], values[1] or []
    axes, steps = ([*values, None, None][position] for position in (2, 3))
    axes, steps = axes or list(range(len(starts))), steps or [1] * len(starts)
    if [axis % len(shape) for axis in axes] != [1] or steps[0] < 1:
        return None
    return [slice(starts[0], ends[0], steps[0])]


def _fold_permutations(graph: _Graph) -> int:
    """A convolution reads the channels as they lie; its weight is permuted instead."""
    count = 0
    for node in graph.nodes:
        source = graph.gathers.get(node.input[0]) if node.op_type == "Conv" else None
        if source is None or graph.counts[node.input[0]] != 1 or not _is_foldable(graph, node, source):
            graph.builder.nodes.append(node)
            continue
        weight = graph.constants[node.input[1]]
        permuted = np.empty_like(weight)
        permuted[:, source[1]] = weight
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        copy.input[0], copy.input[1] = source[0], graph.builder.constant(f"{node.input[1]}.permuted", permuted)
        graph.builder.nodes.append(copy)
        count += 1
    return count


def _is_foldable(graph: _Graph, node: onnx.NodeProto, source: tuple[str, Table]) -> bool:
    channels = graph.shapes[source[0]][1]
    return (
        node_attribute(node, "group", 1) == 1
        and node.input[1] in graph.constants
        and np.array_equal(np.sort(source[1]), np.arange(channels))
    )


def _write_tables(graph: _Graph) -> int:
    """Neighbouring channels are a slice; tables become int32, also those of other axes."""
    count = 0
    for node in graph.nodes:
        source, table = graph.gathers.get(node.output[0], ("", np.empty(0, np.int64)))
        neighbours = graph.opset >= SLICE_BY_INPUTS_OPSET and bool(table.size)
        if neighbours and np.array_equal(table, np.arange(table[0], table[0] + table.size)):
            _emit_slice(graph, node, source, table)
        elif table.size:
            graph.gather(node, node.output[0], source, table)
        else:
            narrowed = _narrow_table(graph, node)
            graph.builder.nodes.append(narrowed)
            count -= narrowed is node
        count += 1
    return count


def _emit_slice(graph: _Graph, node: onnx.NodeProto, source: str, table: Table) -> None:
    bounds = {"starts": table[0], "ends": table[-1] + 1, "axes": 1, "steps": 1}
    names = [graph.builder.constant(f"{node.output[0]}.{key}", np.array([v], np.int64)) for key, v in bounds.items()]
    graph.builder.nodes.append(
        onnx.helper.make_node("Slice", [source, *names], [node.output[0]], name=node.name or node.output[0])
    )


def _narrow_table(graph: _Graph, node: onnx.NodeProto) -> onnx.NodeProto:
    """A gather along another axis with an int32 table, counted from 0, or a reshape; any other node as it is."""
    if node.op_type != "Gather" or node.input[1] not in graph.constants or node.input[0] not in graph.shapes:
        return node
    shape, table = graph.shapes[node.input[0]], graph.constants[node.input[1]]
    size = shape[node_attribute(node, "axis", 0) % len(shape)]
    narrow = np.where(table < 0, table + size, table).astype(np.int32)
    if len(shape) == 1 and np.array_equal(narrow.reshape(-1), np.arange(size)):
        sizes = graph.builder.constant(f"{node.output[0]}.shape", np.array(table.shape, np.int64))
        return onnx.helper.make_node("Reshape", [node.input[0], sizes], list(node.output), name=node.name)
    copy = onnx.NodeProto.FromString(node.SerializeToString())
    copy.input[1] = graph.builder.constant(f"{node.output[0]}.table", narrow)
    return copy
