"""`act inspect`: what is in a network, a run, an ONNX file or a package."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..output import bytes_text, count_text, memory_text, milliseconds_text, print_fields, print_json, print_table
from ..progress import Progress
from .arguments import add_json, add_network, examples
from .sources import kind_of, open_network

if TYPE_CHECKING:
    from ...compiler.layer_shape import LayerShape
    from ...device.package_format import Package

NAME = "inspect"
_KERNELS_KEY = "act.kernels"  # `act.compiler.compile` writes it; importing that would load TVM
HELP = "show the layers, coupling groups or steps of a network, run or file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("source", metavar="SOURCE", help="network, run folder, file.onnx or file.actpkg")
    add_network(parser)
    add_json(parser)
    parser.epilog = examples(
        "act inspect resnet20",
        "act inspect mypackage.nets:build --input-shape 3,64,64",
        "act inspect runs/digits-resnet20/model.actpkg",
    )


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Describe the source."""
    kind = kind_of(args.source)
    if kind == "package":
        values = describe_package(Path(args.source))
        show = _show_package
    elif kind == "onnx":
        values, show = describe_onnx(Path(args.source)), _show_onnx
    else:
        values, show = describe_network(args), _show_network
    if args.json:
        print_json({"source": args.source, "kind": kind, **values})
    else:
        show(values)
    return 0


def describe_network(args: argparse.Namespace) -> dict[str, Any]:
    """Layers, sizes and coupling groups of a network or a run's compact network."""
    from ..cost import count_params, layer_shapes
    from ..coupling import find_coupling

    opened = open_network(args, None)
    coupling = find_coupling(opened.network)
    shapes = layer_shapes(opened.network)
    params = count_params(opened.network)
    record = opened.preprocessing
    return {
        "network": opened.spec.to_dict(),
        "input_shape": opened.network.input_shape,
        "output_shape": opened.network.output_shape,
        "params": params.total,
        "conv_params": params.conv,
        "column_indices": params.column_indices,
        "macs": sum(shape.macs for shape in shapes),
        "preprocessing": None if record is None else record.to_dict(),
        "layers": [_layer(shape) for shape in shapes],
        "groups": [
            {
                "name": group.name,
                "filters": group.size,
                "producers": [ref.layer for ref in group.producers],
                "consumers": [ref.layer for ref in group.consumers],
                "frozen": group.frozen,
            }
            for group in coupling.groups
        ],
        "frozen": [{"layer": layer, "reason": reason} for layer, reason in coupling.frozen],
    }


def describe_onnx(path: Path) -> dict[str, Any]:
    """Inputs, outputs, operators and parameters of an ONNX file; layers are counted by their zero columns."""
    import numpy as np
    from onnx import numpy_helper

    from ...compiler.zero_columns import kept_columns
    from ..classifiers import parse_onnx

    model = parse_onnx(path)
    graph = model.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    layers = []
    for node in graph.node:
        weight = next((arrays[name] for name in node.input[1:2] if name in arrays), None)
        if node.op_type in ("Conv", "Gemm", "MatMul", "ColumnConv") and weight is not None and weight.ndim >= 2:
            kept = len(kept_columns(weight)) if node.op_type == "Conv" else None
            layers.append({"name": node.name, "operator": node.op_type, "weight": weight.shape, "kept_columns": kept})
    constants = set(arrays)
    return {
        "file_bytes": path.stat().st_size,
        "producer": model.producer_name,
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "inputs": [_value(value) for value in graph.input if value.name not in constants],
        "outputs": [_value(value) for value in graph.output],
        "params": sum(int(array.size) for array in arrays.values() if np.issubdtype(array.dtype, np.floating)),
        "operators": dict(Counter(node.op_type for node in graph.node).most_common()),
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
        "layers": layers,
    }


def describe_package(path: Path) -> dict[str, Any]:
    """Target, memory and steps of a package."""
    from ...device.package_format import read_package

    package = read_package(path)
    steps = [
        {
            "kernel": package.kernels[step.kernel].name,
            "source_operator": step.source_operator,
            "global_size": step.global_size,
            "local_size": step.local_size,
            "macs": step.macs,
            "bytes": step.bytes,
            "modelled_us": step.modelled_us,
            **choice,
        }
        for step, choice in zip(package.steps, _choices(package), strict=True)
    ]
    return {
        "file_bytes": path.stat().st_size,
        "target": package.target,
        "backend": package.backend,
        "batch": package.batch,
        "precision": package.precision,
        "input_shape": package.input_shape,
        "output_shape": package.output_shape,
        "kernels": len(package.kernels),
        "weight_bytes": len(package.weights),
        "arena_bytes": package.arena_bytes,
        "peak_live_bytes": _peak_live_bytes(package.metadata),
        "macs": package.macs,
        "modelled_kernels_ms": sum(step.modelled_us for step in package.steps) / 1000,
        "preprocessing": package.preprocessing,
        "metadata": {key: text for key, text in package.metadata.items() if key != _KERNELS_KEY},
        "steps": steps,
    }


def _choices(package: "Package") -> list[dict[str, Any]]:
    """Lowering and tile of each step, with their reasons; empty texts in a package of another make."""
    names = ("lowering", "reason", "tile", "tile_reason")
    try:
        records = json.loads(package.metadata[_KERNELS_KEY])
        found = [{name: str(record[name]) for name in names} for record in records]
    except (ValueError, KeyError, TypeError):
        found = []
    return found if len(found) == len(package.steps) else [dict.fromkeys(names, "") for _ in package.steps]


def _peak_live_bytes(metadata: dict[str, str]) -> int | None:
    """What the compiler wrote of it; None in a package of another make."""
    text = metadata.get("act.peak_live_bytes", "")
    return int(text) if text.isascii() and text.isdecimal() else None


def _layer(shape: "LayerShape") -> dict[str, Any]:
    return {
        "name": shape.name,
        "kind": shape.kind,
        "c_in": shape.c_in,
        "c_out": shape.c_out,
        "kernel": shape.kernel,
        "stride": shape.stride,
        "input_hw": shape.input_hw,
        "output_hw": shape.output_hw,
        "columns": shape.columns,
        "dense_columns": shape.dense_columns,
        "weights": shape.weight_count,
        "macs": shape.macs,
    }


def _value(value: Any) -> dict[str, Any]:  # noqa: ANN401 - onnx.ValueInfoProto
    dims = value.type.tensor_type.shape.dim
    return {
        "name": value.name,
        "shape": [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims],
    }


def _show_network(values: dict[str, Any]) -> None:
    weighted = [layer for layer in values["layers"] if layer["weights"]]
    rows = [
        (
            layer["name"],
            layer["kind"],
            f"{layer['c_in']} → {layer['c_out']}",
            _by(layer["kernel"]),
            _by(layer["output_hw"]),
            f"{layer['columns']} / {layer['dense_columns']}",
            count_text(layer["weights"]),
            count_text(layer["macs"]),
        )
        for layer in weighted
    ]
    headings = ("layer", "kind", "channels", "kernel", "output", "columns", "weights", "MACs")
    print_table(headings, rows, title=values["network"]["name"], right=("columns", "weights", "MACs"))
    print()
    groups = [
        (group["name"], group["filters"], ", ".join(group["producers"]), group["frozen"] or "may be pruned")
        for group in values["groups"]
    ]
    print_table(("coupling group", "filters", "layers", ""), groups, right=("filters",))
    print()
    print_fields(
        [
            ("input", _by(values["input_shape"])),
            ("params", f"{values['params']:,} ({values['conv_params']:,} in convolutions)"),
            ("MACs", f"{values['macs']:,}"),
        ]
    )


def _show_onnx(values: dict[str, Any]) -> None:
    rows = [(layer["name"], layer["operator"], _by(layer["weight"]), _kept(layer)) for layer in values["layers"]]
    print_table(("layer", "operator", "weight", "kept columns"), rows, right=("kept columns",))
    print()
    ports = {name: ", ".join(f"{v['name']} {_by(v['shape'])}" for v in values[name]) for name in ("inputs", "outputs")}
    print_fields(
        [
            ("inputs", ports["inputs"]),
            ("outputs", ports["outputs"]),
            ("operators", ", ".join(f"{count} {name}" for name, count in values["operators"].items())),
            ("opset", ", ".join(f"{domain} {version}" for domain, version in values["opset"].items())),
            ("params", f"{values['params']:,}"),
            ("size", bytes_text(values["file_bytes"])),
            ("metadata", ", ".join(values["metadata"]) or "none"),
        ]
    )


def _show_package(values: dict[str, Any]) -> None:
    rows = [
        (
            index,
            step["source_operator"] or step["kernel"],
            step["kernel"],
            _by(step["global_size"]),
            _by(step["local_size"]),
            count_text(step["macs"]),
            f"{step['modelled_us']:.1f}",
        )
        for index, step in enumerate(values["steps"])
    ]
    headings = ("step", "operator", "kernel", "global", "local", "MACs", "modelled µs")
    print_table(headings, rows, right=("step", "MACs", "modelled µs"))
    print()
    _show_choices(values["steps"])
    modelled = milliseconds_text(values["modelled_kernels_ms"])
    print_fields(
        [
            ("target", f"{values['target']}, {values['backend']}, batch {values['batch']}, {values['precision']}"),
            ("input", _by(values["input_shape"])),
            ("output", _by(values["output_shape"])),
            (
                "memory",
                memory_text(values["weight_bytes"], values["arena_bytes"], values["peak_live_bytes"]),
            ),
            ("MACs", f"{values['macs']:,}"),
            ("kernels", f"{values['kernels']} for {len(values['steps'])} steps, {modelled} modelled in kernels"),
            ("size", bytes_text(values["file_bytes"])),
        ]
    )


def _show_choices(steps: list[dict[str, Any]]) -> None:
    """Why each layer's kernel is as it is."""
    rows = [
        (
            index,
            step["source_operator"],
            f"{step['lowering']}: {step['reason']}",
            f"{step['tile']}: {step['tile_reason']}" if step["tile"] else "",
        )
        for index, step in enumerate(steps)
        if step["tile"]
    ]
    if rows:
        print_table(("step", "operator", "lowering, and why", "tile, and why"), rows, right=("step",))
        print()


def _by(sizes: object) -> str:
    return "×".join(str(size) for size in sizes) if isinstance(sizes, list | tuple) else str(sizes)


def _kept(layer: dict[str, Any]) -> str:
    if layer["kept_columns"] is None:
        return ""
    _, *rest = layer["weight"]
    columns = 1
    for size in rest:
        columns *= size
    return f"{layer['kept_columns']} / {columns}"
