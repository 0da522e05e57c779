"""One layer as an ONNX model of its own, with random weights: what a device measures to price a candidate's layers."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from .layer_shape import BLOCK_CHANNELS, LayerShape

OPSET = 18


def write_layer_onnx(layer: LayerShape, path: Path, *, seed: int = 0, inside: bool = False) -> Path:
    """Write `layer`, followed by a ReLU as in a network, as an ONNX file with an open batch.

    A layer with fewer columns than its dense form gets zero columns in a plain `Conv`: the compiler finds them and
    decides the lowering, as it does for a whole network. Kept columns are spread over as many channels and blocks
    as the layer tells of.

    Args:
        layer: Any layer but `elementwise`, which the compiler fuses into another kernel.
        path: File to write.
        seed: Of the weights.
        inside: Let a kernel of its own copy the result of a convolution, so that the layer writes memory with the rows
            that it has inside a network.

    Raises:
        ValueError: For an elementwise layer.
    """
    if layer.kind == "elementwise":
        raise ValueError(f"layer {layer.name!r} is elementwise: it has no kernel of its own")
    rng = np.random.default_rng(seed)
    linear = layer.kind == "linear"
    input_shape = ["N", layer.c_in] if linear else ["N", layer.c_in, *layer.input_hw]
    output_shape = ["N", layer.c_out] if linear else ["N", layer.c_out, *layer.output_hw]
    nodes, weights = _pool(layer) if layer.kind == "pool" else _weighted(layer, rng)
    if inside and layer.kind in ("conv", "depthwise"):
        nodes[-1].output[0] = "result"
        nodes.append(helper.make_node("MaxPool", ["result"], ["output"], kernel_shape=[1, 1]))
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def _weighted(layer: LayerShape, rng: np.random.Generator) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    bias = rng.standard_normal(layer.c_out).astype(np.float32)
    relu = helper.make_node("Relu", ["sum"], ["output"])
    if layer.kind == "linear":
        matrix = rng.standard_normal((layer.c_out, layer.c_in)).astype(np.float32)
        return [helper.make_node("Gemm", ["input", "weight", "bias"], ["sum"], transB=1), relu], {
            "weight": matrix,
            "bias": bias,
        }
    dense = layer.c_in // layer.groups * layer.kernel[0] * layer.kernel[1]
    matrix = rng.standard_normal((layer.c_out, dense)).astype(np.float32)
    kept = _kept_columns(layer)
    packed = np.zeros_like(matrix)
    packed[:, kept] = matrix[:, kept]
    weight = packed.reshape(layer.c_out, layer.c_in // layer.groups, *layer.kernel)
    conv = helper.make_node(
        "Conv",
        ["input", "weight", "bias"],
        ["sum"],
        kernel_shape=list(layer.kernel),
        strides=list(layer.stride),
        pads=[*layer.padding, *layer.padding],
        dilations=list(layer.dilation),
        group=layer.groups,
    )
    return [conv, relu], {"weight": weight, "bias": bias}


def _kept_columns(layer: LayerShape) -> npt.NDArray[np.int64]:
    """As many columns as the layer keeps, in its number of channels, or in its blocks of neighbouring channels."""
    channels, area = layer.c_in // layer.groups, layer.kernel[0] * layer.kernel[1]
    read = layer.read_channels or channels
    if layer.blocks is None or channels < BLOCK_CHANNELS:
        columns = (_spread(channels, read)[:, None] * area + np.arange(area)).reshape(-1)
        return columns[_spread(columns.size, layer.columns)]
    # Whole groups of four channels; the first channel of each block first, so that every block is needed.
    groups = channels // BLOCK_CHANNELS
    used = _spread(groups, min(groups, max(-(-read // BLOCK_CHANNELS), -(-layer.blocks // area))))
    cells = (used[:, None] * BLOCK_CHANNELS * area + np.arange(area)).reshape(-1)
    first = cells[_spread(cells.size, min(layer.blocks, cells.size))]
    inside = (first[None, :] + np.arange(BLOCK_CHANNELS)[:, None] * area).reshape(-1)
    others = np.setdiff1d(np.arange(channels * area), inside)
    return np.sort(np.concatenate([inside, others])[: layer.columns])


def _spread(count: int, kept: int) -> npt.NDArray[np.int64]:
    """``kept`` of ``count`` indices, at even distances."""
    return np.linspace(0, count - 1, kept).round().astype(np.int64)


def _pool(layer: LayerShape) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    if layer.output_hw == (1, 1):
        return [helper.make_node("GlobalAveragePool", ["input"], ["output"])], {}
    pool = helper.make_node(
        "MaxPool",
        ["input"],
        ["output"],
        kernel_shape=list(layer.kernel),
        strides=list(layer.stride),
        pads=[*layer.padding, *layer.padding],
    )
    return [pool], {}
