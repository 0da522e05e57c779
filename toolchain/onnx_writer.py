"""Write a captured network as ONNX, one rule per operator: fast, and with nothing in the file but the network.

Networks with an operator outside ``onnx_rules`` go through torch's own exporter instead (see ``export``). Weights are
initializers under their state-dict names; batch is symbolic.
"""

from __future__ import annotations

from onnx import ModelProto, TensorProto, helper, numpy_helper

from .capture import CapturedNetwork
from .onnx_graph import GraphWriter, NoRuleError
from .onnx_rules import find_rule

__all__ = ["IR_VERSION", "OPSET", "NoRuleError", "write_onnx"]

OPSET = 18
IR_VERSION = 10


def write_onnx(network: CapturedNetwork) -> ModelProto:
    """Convert a network, batch norm folded where it can be, to ONNX with dense convolutions.

    Args:
        network: In evaluation mode.

    Raises:
        NoRuleError: If there is no rule for an operator.
    """
    writer = GraphWriter(network)
    for node in network.module.graph.nodes:
        if node.op == "placeholder":
            writer.names[node] = "input"
        elif node.op == "output":
            if writer.names[writer.returned] != "output":
                writer.emit(writer.returned, "Identity", [writer.names[writer.returned]])
        elif node.name in network.shapes:  # sizes, which are no tensors, have been computed at capture
            writer.names[node] = find_rule(writer, node)(writer, node)
    graph = helper.make_graph(
        writer.nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *network.input_shape])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", *network.output_shape])],
        [numpy_helper.from_array(value, name) for name, value in writer.tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
