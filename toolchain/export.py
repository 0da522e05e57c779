"""Export: a network as one ONNX file, batch norm folded, batch symbolic, packed columns kept packed.

A layer that lost columns is a ``ColumnConv`` node (see ``onnx_columns``), or, where asked for, a plain ``Conv`` with
zeros. Operators that ``onnx_writer`` has no rule for go through ``torch.onnx.export``; columns are packed afterwards.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch import nn

from ..models.layers import ColumnConv2d
from ..models.preprocessing import Preprocessing
from .capture import CAPTURE_BATCH, CapturedNetwork
from .coupling import IntArray
from .folding import fold_batch_norm, weighted_modules
from .onnx_columns import pack_columns
from .onnx_writer import IR_VERSION, OPSET, NoRuleError, write_onnx

__all__ = ["PREPROCESSING_KEY", "ExportError", "export_onnx", "make_onnx"]

PREPROCESSING_KEY = "act.preprocessing"
MAX_FILE_BYTES = 2**31 - 1


class ExportError(ValueError):
    """The network cannot be written as ONNX."""


def export_onnx(
    network: CapturedNetwork,
    path: Path,
    *,
    preprocessing: Preprocessing | None,
    dense: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a network as ONNX, atomically, checked by ``onnx.checker``.

    Args:
        network: Any captured network, on any device; left as it is.
        path: File to write or replace.
        preprocessing: Stored in the file's metadata, with the class names.
        dense: Write layers that lost columns as plain ``Conv`` with zeros.
        metadata: More entries of the file's metadata.

    Raises:
        ExportError: If the network has an operator that ONNX cannot express, or is larger than one file can be.
    """
    model = make_onnx(network, preprocessing=preprocessing, dense=dense, metadata=metadata)
    if model.ByteSize() > MAX_FILE_BYTES:
        raise ExportError(
            f"the network takes {model.ByteSize()} bytes, but one ONNX file holds at most {MAX_FILE_BYTES}"
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(model.SerializeToString())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_onnx(
    network: CapturedNetwork,
    *,
    preprocessing: Preprocessing | None = None,
    dense: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> ModelProto:
    """The ONNX model that :func:`export_onnx` writes.

    Raises:
        ExportError: As there.
    """
    folded = _on_cpu_in_float32(fold_batch_norm(network))
    try:
        model = write_onnx(folded)
    except NoRuleError as error:
        model = _export_with_torch(folded, str(error))
    try:
        pack_columns(model, {} if dense else _packed_columns(folded))
        entries = dict(metadata or {})
        if preprocessing is not None:
            entries[PREPROCESSING_KEY] = json.dumps(preprocessing.to_dict(), sort_keys=True)
        onnx.helper.set_model_props(model, entries)
        model.producer_name = "act"
        onnx.checker.check_model(model, full_check=True)
    except (ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the network cannot be written as ONNX: {error}") from error
    return model


def _on_cpu_in_float32(network: CapturedNetwork) -> CapturedNetwork:
    # Folding has made a copy, which may be changed.
    return replace(network, module=network.module.cpu().float())


def _packed_columns(network: CapturedNetwork) -> dict[str, IntArray]:
    """Kept columns by the name of the weight, of layers that lost some."""
    return {
        f"{name}.weight": module.columns.cpu().numpy().astype(np.int32)
        for name, module in weighted_modules(network).items()
        if isinstance(module, ColumnConv2d)
    }


def _export_with_torch(network: CapturedNetwork, reason: str) -> ModelProto:
    module = copy.deepcopy(network.module)
    for name, layer in weighted_modules(network).items():
        if isinstance(layer, ColumnConv2d):
            module.set_submodule(name, _dense(layer))
    example = torch.zeros(CAPTURE_BATCH, *network.input_shape)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                verbose=False,
                optimize=True,
            )
    except Exception as error:
        raise ExportError(f"{reason} cannot be written as ONNX: {_root_cause(error)}") from error
    if program is None:
        raise ExportError(f"{reason} cannot be written as ONNX")
    model: ModelProto = program.model_proto
    _strip(model)
    return model


def _root_cause(error: BaseException) -> str:
    """First line of the innermost error: torch wraps what it means in advice to its developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _dense(layer: ColumnConv2d) -> nn.Conv2d:
    with torch.device("meta"):
        dense = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            bias=False,
        )
    dense.weight = nn.Parameter(layer.dense_weight().detach())
    dense.register_parameter("bias", layer.bias)
    return dense.eval()


def _strip(model: ModelProto) -> None:
    """Drop what torch adds for debugging: stack traces with paths of this machine, which outweigh small networks."""
    model.ir_version = IR_VERSION
    model.graph.name = "network"
    model.ClearField("metadata_props")
    for entry in (model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
    model.graph.ClearField("value_info")
    for function in model.functions:
        function.ClearField("metadata_props")
        for node in function.node:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
