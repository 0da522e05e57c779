"""`act export`: a network or the compact network of a run as one ONNX file."""

import argparse
from pathlib import Path

from ..output import bytes_text, print_fields, print_json
from ..progress import Progress
from .arguments import add_json, add_network, add_path, examples, refuse_existing_folder
from .sources import OpenedNetwork, open_network

NAME = "export"
HELP = "write a network or a run's compact network as ONNX"
_PROBES = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("source", metavar="SOURCE", help="network or run folder")
    add_path(parser, "--out", help="ONNX file to write (default: NAME.onnx here)")
    parser.add_argument("--dense", action="store_true", help="plain Conv nodes only, for runtimes without functions")
    add_network(parser)
    add_json(parser)
    parser.epilog = examples(
        "act export runs/digits-resnet20 --out small.onnx",
        "act export resnet20 --weights resnet20.safetensors --out resnet20.onnx",
    )


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Write the file, compare it with the network in onnxruntime, and say where it is."""
    path: Path = args.out or Path(Path(args.source).name.replace(":", ".") + ".onnx")
    refuse_existing_folder(path)
    opened = open_network(args, None)
    with progress.stage("export"):
        difference = export_checked(opened, path, dense=args.dense)
    if opened.preprocessing is None:
        progress.warn("nothing says which preprocessing the weights expect; the file carries no record of it")
    result = {"onnx": str(path), "file_bytes": path.stat().st_size, "dense": args.dense, "difference": difference}
    if args.json:
        print_json(result)
    else:
        print_fields(
            [
                ("onnx", path),
                ("size", bytes_text(path.stat().st_size)),
                ("equality", f"onnxruntime differs by {difference:.1e} of the largest output"),
                ("next", f"act compile {path} --target adreno640"),
            ]
        )
    return 0


def export_checked(opened: OpenedNetwork, path: Path, *, dense: bool) -> float:
    """Write an ONNX file and compare it with the network on random inputs.

    Returns:
        The largest difference, relative to the largest output.

    Raises:
        ExportError: If the network cannot be exported.
        EqualityError: If the file computes something else; that is a bug.
    """
    import numpy as np
    import torch

    from ..classifiers import OnnxClassifier
    from ..equality_chain import ONNX_TOLERANCE, compare_arrays, outputs_of
    from ..export import export_onnx

    network = opened.network
    export_onnx(network, path, preprocessing=opened.preprocessing, dense=dense)
    inputs = np.random.default_rng(0).standard_normal((_PROBES, *network.input_shape), dtype=np.float32)
    found, expected = OnnxClassifier(path)(inputs), outputs_of(network.module, torch.from_numpy(inputs))
    return compare_arrays("network = onnxruntime", found, expected, tolerance=ONNX_TOLERANCE).difference
