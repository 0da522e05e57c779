"""The ONNX graph under construction: what the rules of ``onnx_rules`` write into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper
from torch import Tensor, fx, nn

from .capture import CapturedNetwork
from .operators import argument

__all__ = ["GraphWriter", "NoRuleError"]

Array: TypeAlias = npt.NDArray[Any]


class NoRuleError(Exception):
    """This writer has no rule for an operator, or for this form of it."""


class GraphWriter:
    """Collects the ONNX nodes and initializers of one network.

    Attributes:
        network: In evaluation mode.
        nodes: ONNX nodes so far, in execution order.
        tensors: Initializers by name.
        names: ONNX name of each value of the graph.
        returned: The node whose value the network returns.
    """

    def __init__(self, network: CapturedNetwork) -> None:
        self.network = network
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, Array] = {}
        self.names: dict[fx.Node, str] = {}
        self.returned: Any = next(n for n in network.module.graph.nodes if n.op == "output").args[0]

    def emit(self, node: fx.Node, kind: str, inputs: Sequence[str], **attributes: Any) -> str:  # noqa: ANN401
        """Add one ONNX node that computes the value of ``node``."""
        name = "output" if node is self.returned else f"/{node.name}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=node.name, **attributes))
        return name

    def constant(self, name: str, value: Array | Tensor) -> str:
        """An initializer; the same name always holds the same value."""
        if isinstance(value, Tensor):
            value = value.detach().cpu().float().numpy()
        self.tensors[name] = np.ascontiguousarray(value)
        return name

    def value(self, node: fx.Node, position: int = 0, name: str = "input") -> str:
        """ONNX name of a tensor argument."""
        source = argument(node, position, name)
        if not isinstance(source, fx.Node) or source not in self.names:
            raise NoRuleError(f"argument {position} of {node.name!r}")
        return self.names[source]

    def source_shape(self, node: fx.Node) -> tuple[int, ...]:
        """Shape of the first argument."""
        return self.network.shapes[node.all_input_nodes[0].name]

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Shape of the result."""
        return self.network.shapes[node.name]

    def module_of(self, node: fx.Node) -> nn.Module:
        """The module that a node calls."""
        return self.network.module.get_submodule(str(node.target))
