"""An ONNX file becomes a checked, dense, static model and a TVM Relax module.

    file -> parse -> external data -> checker -> ColumnConv dense -> functions inlined -> batch fixed
         -> constants and batch norms folded, layer norms and shuffles rewritten, dead channels dropped, channels
            grouped for blocks of columns -> operators checked -> Relax

The file is material from elsewhere: it is refused with a message, never trusted. One float32 input, ``(N, C, H, W)``
or ``(N, F)``, and one output; everything but the batch must be static. TVM is imported inside the last step only.
"""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx.inliner

from .errors import CompileError, OnnxInputError
from .onnx_input import fix_input_shape
from .operators import check_operators
from .passes.batch_norm_arithmetic import write_batch_norms_as_arithmetic
from .passes.channel_gathers import simplify_channel_gathers
from .passes.channels_first import move_channels_first
from .passes.column_conv import densify_column_convs
from .passes.drop_channels import drop_channels
from .passes.external_data import load_external_data
from .passes.fold_batch_norm import fold_batch_norm
from .passes.fold_constants import fold_constants
from .passes.graph import drop_unused, node_label
from .passes.group_channels import group_channels
from .passes.identities import drop_identities
from .passes.layer_norm import decompose_layer_norms
from .passes.separate_bias import separate_biases
from .passes.shapes import infer_shapes, static_shapes
from .passes.well_formed import check_well_formed

if TYPE_CHECKING:
    import tvm

__all__ = ["PREPROCESSING_KEY", "ImportedModel", "import_onnx", "load_onnx", "prepare_onnx", "read_onnx"]

PREPROCESSING_KEY = "act.preprocessing"
MIN_OPSET = 9
REWRITES: Sequence[Callable[[onnx.ModelProto], int]] = (
    drop_identities,
    fold_batch_norm,
    move_channels_first,
    decompose_layer_norms,
    write_batch_norms_as_arithmetic,
    simplify_channel_gathers,
    drop_channels,
    group_channels,
    separate_biases,
)


@dataclass(frozen=True, kw_only=True)
class ImportedModel:
    """What the lowering starts from.

    Attributes:
        onnx_model: Dense, inlined, static; batch norms folded into convolutions where that is exact. Weights are
            initializers. onnxruntime runs it.
        relax_module: The same network in Relax, weights as constants, one function ``main``.
        input_name: Name in the ONNX file.
        input_shape: ``(N, C, H, W)``, or ``(N, F)``.
        output_name: Name in the ONNX file.
        output_shape: Static.
        preprocessing: The record of the file's metadata, or None.
        metadata: All of the file's metadata.
    """

    onnx_model: onnx.ModelProto
    relax_module: tvm.IRModule
    input_name: str
    input_shape: tuple[int, ...]
    output_name: str
    output_shape: tuple[int, ...]
    preprocessing: dict[str, Any] | None
    metadata: dict[str, str]


def import_onnx(path: Path, *, batch: int = 1, input_shape: tuple[int, ...] | None = None) -> ImportedModel:
    """Read an ONNX file, make it static and dense, and translate it to Relax.

    Args:
        path: The file; external data is read from its folder only.
        batch: Batch size to fix.
        input_shape: ``(C, H, W)`` or ``(F,)``, for files that leave these open.

    Raises:
        OnnxInputError: If the file is not a valid ONNX model, or its inputs and outputs are not as above.
        UnsupportedOpError: If the compiler does not take an operator.
        CompileError: If TVM refuses the network.
    """
    model = load_onnx(path, batch=batch, input_shape=input_shape)
    shapes = static_shapes(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    input_name, output_name = model.graph.input[0].name, model.graph.output[0].name
    return ImportedModel(
        onnx_model=model,
        relax_module=_to_relax(model),
        input_name=input_name,
        input_shape=shapes[input_name],
        output_name=output_name,
        output_shape=shapes[output_name],
        preprocessing=_preprocessing(path, metadata),
        metadata=metadata,
    )


def load_onnx(path: Path, *, batch: int = 1, input_shape: tuple[int, ...] | None = None) -> onnx.ModelProto:
    """The ONNX half of `import_onnx`, without TVM: checked, dense, inlined, static, folded, simplified.

    Raises:
        OnnxInputError: As `import_onnx`.
        UnsupportedOpError: As `import_onnx`.
    """
    return prepare_onnx(read_onnx(path), path, batch=batch, input_shape=input_shape)


def prepare_onnx(
    model: onnx.ModelProto, path: Path, *, batch: int = 1, input_shape: tuple[int, ...] | None = None
) -> onnx.ModelProto:
    """The same for a model in memory, which is changed; ``path`` is what errors call it.

    Raises:
        OnnxInputError: As `import_onnx`.
        UnsupportedOpError: As `import_onnx`.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    _check(path, model)
    check_well_formed(model)
    densify_column_convs(model)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    fix_input_shape(path, model, batch=batch, input_shape=input_shape)
    del model.graph.value_info[:]
    try:
        fold_constants(model)
        _check_channels(path, model)
        for rewrite in REWRITES:
            if rewrite(model):
                infer_shapes(model)
    except onnx.shape_inference.InferenceError as error:
        raise OnnxInputError(f"{str(path)!r}: shapes or types contradict each other: {_first_line(error)}") from error
    drop_unused(model.graph)
    check_operators(model)
    _check_output(path, model)
    return model


def read_onnx(path: Path) -> onnx.ModelProto:
    """Parse a file and read its external data, unchecked otherwise: what onnxruntime may be given.

    Raises:
        OnnxInputError: If the file is missing, not ONNX, cut short, or reaches outside its folder.
    """
    model = _parse(path)
    load_external_data(model, path.parent)
    return model


def _parse(path: Path) -> onnx.ModelProto:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OnnxInputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError has a different base in each implementation
        raise OnnxInputError(f"{str(path)!r} is not an ONNX file, or it is cut short ({len(data)} bytes)") from error
    if not model.opset_import or not model.graph.node:
        raise OnnxInputError(
            f"{str(path)!r} is not an ONNX model, or it is cut short: it has "
            f"{len(model.opset_import)} operator sets and {len(model.graph.node)} nodes"
        )
    return model


def _check(path: Path, model: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # ValidationError, and ValueError above protobuf's size limit
        raise OnnxInputError(f"{str(path)!r} is not a valid ONNX model: {_first_line(error)}") from error
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < MIN_OPSET:
        raise OnnxInputError(
            f"{str(path)!r} uses operator set {opset}; at least {MIN_OPSET} is supported: export it again"
        )


def _check_output(path: Path, model: onnx.ModelProto) -> None:
    shapes = static_shapes(model)
    output = model.graph.output[0]
    if output.name not in shapes:
        raise OnnxInputError(f"{str(path)!r}: the shape of output {output.name!r} depends on data; it must be static")
    if output.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise OnnxInputError(f"{str(path)!r}: output {output.name!r} is not float32")
    if not model.graph.node:
        raise OnnxInputError(f"{str(path)!r}: the output does not depend on the input")


def _check_channels(path: Path, model: onnx.ModelProto) -> None:
    """Shape inference does not compare a convolution's input channels with its weight's."""
    shapes = static_shapes(model)
    for node in model.graph.node:
        if node.op_type != "Conv" or any(name not in shapes for name in node.input[:2]):
            continue
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        channels, weight = shapes[node.input[0]][1], shapes[node.input[1]]
        if groups < 1 or channels != weight[1] * groups or weight[0] % groups:
            raise OnnxInputError(
                f"{str(path)!r}: shapes contradict each other: {node_label(node)} has {channels} input channels, "
                f"weight {weight} and {groups} groups"
            )


def _preprocessing(path: Path, metadata: dict[str, str]) -> dict[str, Any] | None:
    text = metadata.get(PREPROCESSING_KEY)
    if text is None:
        return None
    try:
        record = json.loads(text)
    except ValueError as error:
        raise OnnxInputError(f"{str(path)!r}: metadata {PREPROCESSING_KEY!r} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise OnnxInputError(f"{str(path)!r}: metadata {PREPROCESSING_KEY!r} must be a JSON object")
    return record


def _to_relax(model: onnx.ModelProto) -> tvm.IRModule:
    from tvm.relax.frontend.onnx import from_onnx

    from .passes.clip_bounds import inline_clip_bounds

    # TVM warns about renamed inputs and prints failing operators; stdout belongs to the result.
    printed = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
            warnings.simplefilter("ignore")
            return inline_clip_bounds(from_onnx(model, keep_params_in_input=False))
    except Exception as error:  # TVM raises its own types, AssertionError and KeyError among others
        detail = printed.getvalue().strip().partition(", with inputs")[0]
        nodes = [node_label(node) for node in model.graph.node if node.op_type in detail.split()]
        named = f" (of {', '.join(nodes[:3])}{', …' if len(nodes) > 3 else ''})" if nodes else ""
        raise CompileError(
            f"TVM cannot translate this network: {_first_line(error)} {detail}{named}".strip()
        ) from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
