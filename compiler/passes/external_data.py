"""Read weights that an ONNX file keeps in other files, from inside the model's own folder only.

A model file is material from elsewhere: a location such as ``../../.ssh/id_rsa``, an absolute path, or a symbolic link
that leaves the folder is refused, as are offsets and lengths that do not fit the file or the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import onnx

from ..errors import OnnxInputError

__all__ = ["load_external_data"]


def load_external_data(model: onnx.ModelProto, folder: Path) -> int:
    """Replace every external tensor of the model, in place, by one that holds its bytes.

    Args:
        model: Model as parsed, without its external data.
        folder: The folder of the model file.

    Returns:
        How many tensors were read.

    Raises:
        OnnxInputError: If a location is outside the folder, a file is missing, or a size does not fit.
    """
    count = 0
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _load(tensor, folder)
            count += 1
    return count


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: object) -> Iterator[onnx.TensorProto]:
    for node in nodes:  # type: ignore[attr-defined]
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _graph_tensors(graph)


def _load(tensor: onnx.TensorProto, folder: Path) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = _resolve(tensor.name, entries.get("location", ""), folder)
    offset, length = (_size(tensor.name, key, entries.get(key)) for key in ("offset", "length"))
    expected = _byte_size(tensor)
    if length is not None and length != expected:
        raise OnnxInputError(
            f"external data of {tensor.name!r}: length {length}, but its shape and type ask for {expected} bytes"
        )
    tensor.raw_data = _read(tensor.name, path, offset or 0, expected)
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _read(name: str, path: Path, offset: int, expected: int) -> bytes:
    try:
        size = path.stat().st_size
        if offset + expected > size:
            raise OnnxInputError(
                f"external data of {name!r}: {path.name!r} has {size} bytes, but {expected} from offset {offset} on "
                "are asked for; the file is cut short"
            )
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(expected)
    except OSError as error:
        raise OnnxInputError(f"external data of {name!r} cannot be read: {error}") from error


def _resolve(name: str, location: str, folder: Path) -> Path:
    if not location:
        raise OnnxInputError(f"external data of {name!r} names no file")
    root = folder.resolve()
    # A Windows path is one odd file name here, and a way out of the folder there.
    outside = PureWindowsPath(location).is_absolute() or ".." in PureWindowsPath(location).parts
    path = (root / location).resolve()
    if outside or not path.is_relative_to(root):
        raise OnnxInputError(
            f"external data of {name!r} lies outside the model's folder: {location!r}; "
            "only files inside that folder are read"
        )
    if not path.is_file():
        raise OnnxInputError(
            f"external data of {name!r} is missing: {location!r} is no file in {str(root)!r}; keep it beside the model"
        )
    return path


def _size(name: str, key: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise OnnxInputError(f"external data of {name!r}: {key} must be a whole number of bytes, got {text!r}")
    return int(text)


def _byte_size(tensor: onnx.TensorProto) -> int:
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, TypeError, ValueError) as error:
        raise OnnxInputError(
            f"external data of {tensor.name!r} has a type without fixed size ({tensor.data_type})"
        ) from error
    if dtype.kind not in "fiub" or any(size < 0 for size in tensor.dims):
        raise OnnxInputError(f"external data of {tensor.name!r} is not an array of numbers ({dtype}, {tensor.dims})")
    return math.prod(map(int, tensor.dims)) * int(dtype.itemsize)
