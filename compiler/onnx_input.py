"""The one input of an ONNX network gets a static shape: the batch from the caller, open sizes from ``--input-shape``.

Everything else has its shape from that one by inference.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from .errors import OnnxInputError

__all__ = ["fix_input_shape"]

SUPPORTED_INPUT = "float32 images (N, C, H, W), or features (N, F), are supported"


def fix_input_shape(
    path: Path, model: onnx.ModelProto, *, batch: int, input_shape: tuple[int, ...] | None = None
) -> None:
    """Write the shape of the one input into the model, and forget those of the outputs.

    Args:
        path: For messages.
        model: Changed in place.
        batch: The first dimension.
        input_shape: ``(C, H, W)`` or ``(F,)``: the other dimensions, for files that leave them open.

    Raises:
        OnnxInputError: If there is not one input and one output, or the input is not float32, or its shape is not as
            above, or is open, or fixed to something else than was asked for.
    """
    value = _single_input(path, model)
    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise OnnxInputError(f"input {value.name!r} has type {kind}; {SUPPORTED_INPUT}: export it so")
    dims = tensor.shape.dim
    if not tensor.HasField("shape") and input_shape is not None:
        for _ in range(1 + len(input_shape)):
            dims.add()
    shown = ", ".join(str(d.dim_value if d.HasField("dim_value") else d.dim_param or "?") for d in dims)
    if len(dims) not in (2, 4):
        raise OnnxInputError(f"input {value.name!r} has shape ({shown}); {SUPPORTED_INPUT}")
    if input_shape is not None:
        _give_sizes(value.name, dims, shown, input_shape)
    if not all(dim.HasField("dim_value") and dim.dim_value > 0 for dim in dims[1:]):
        example = "3,224,224 (channels, height, width)" if len(dims) == 4 else "128 (features)"
        raise OnnxInputError(
            f"input {value.name!r} has shape ({shown}); only the batch may be open: fix the rest with "
            f"--input-shape, as in --input-shape {example}, or export with a fixed size"
        )
    if dims[0].HasField("dim_value") and dims[0].dim_value != batch:
        raise OnnxInputError(
            f"input {value.name!r} has the fixed batch {dims[0].dim_value}, but batch {batch} was asked for: "
            "ask for that batch, or export with an open one"
        )
    dims[0].dim_value = batch
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")


def _give_sizes(
    name: str, dims: list[onnx.TensorShapeProto.Dimension], shown: str, input_shape: tuple[int, ...]
) -> None:
    asked = ",".join(map(str, input_shape))
    if len(input_shape) != len(dims) - 1:
        raise OnnxInputError(
            f"--input-shape {asked} has {len(input_shape)} sizes, but input {name!r}, ({shown}), has {len(dims) - 1} "
            "beside the batch"
        )
    for dim, size in zip(dims[1:], input_shape, strict=True):
        if dim.HasField("dim_value") and dim.dim_value > 0 and dim.dim_value != size:
            raise OnnxInputError(
                f"--input-shape {asked} does not fit input {name!r}, whose shape ({shown}) the file fixes: leave the "
                "flag out, or export for that size"
            )
        dim.dim_value = size


def _single_input(path: Path, model: onnx.ModelProto) -> onnx.ValueInfoProto:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    outputs = [value.name for value in model.graph.output]
    if len(inputs) != 1 or len(outputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs)
        raise OnnxInputError(
            f"{str(path)!r} has {len(inputs)} inputs ({names}) and {len(outputs)} outputs "
            f"({', '.join(map(repr, outputs))}); networks with one input and one output are supported"
        )
    return inputs[0]
