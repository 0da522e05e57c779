"""`act compile`: an ONNX file becomes a package for a target."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...device.precision import PRECISIONS
from ..output import bytes_text, count_text, memory_text, milliseconds_text, print_fields, print_json
from ..progress import Progress
from .arguments import add_json, add_path, examples, positive, refuse_existing_folder, sizes
from .sources import onnx_of

if TYPE_CHECKING:
    from ...compiler.compile import CompiledPackage

NAME = "compile"
HELP = "compile an ONNX file to a package for a target"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("source", metavar="SOURCE", help="file.onnx, from anywhere, or a run folder")
    parser.add_argument("--target", default="adreno640", metavar="T", help="see 'act targets' (default: adreno640)")
    add_path(parser, "--out", help="package to write (default: beside the ONNX file)")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", help="how weights and activations are stored (default: fp32)"
    )
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="images a run (default: 1)")
    parser.add_argument(
        "--input-shape",
        type=sizes,
        metavar="C,H,W",
        help="size of the input where the file leaves it open (F for features)",
    )
    add_json(parser)
    parser.epilog = examples(
        "act compile model.onnx --target adreno640 --precision fp16",
        "act compile model.onnx --target host-opencl --out local.actpkg",
    )


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Compile and say what came out."""
    from ...compiler.compile import compile_onnx
    from ...compiler.targets import get_target
    from ..tuned import tuned_for

    target = get_target(args.target, precision=args.precision)
    onnx = onnx_of(args.source)
    output: Path = args.out or onnx.with_suffix(".actpkg")
    refuse_existing_folder(output)
    with progress.stage(f"compile for {target.name}") as stage:
        tuned = tuned_for(target, progress.warn)
        package = compile_onnx(onnx, target, output=output, batch=args.batch, input_shape=args.input_shape, tuned=tuned)
        stage.say(f"{len(package.steps)} kernels")
    size = output.stat().st_size
    macs = sum(step.macs for step in package.steps)
    if args.json:
        print_json(
            {
                "package": str(output),
                "target": target.name,
                "batch": args.batch,
                "precision": target.precision,
                "file_bytes": size,
                "modelled_latency_ms": package.modelled_latency_ms,
                "macs": macs,
                "arena_bytes": package.arena_bytes,
                "peak_live_bytes": package.peak_live_bytes,
                "weight_bytes": package.weight_bytes,
                "seconds": package.seconds,
                "steps": [
                    {"name": s.name, "kind": s.kind, "source_operator": s.source_op, "lowering": s.lowering,
                     "reason": s.reason, "tile": s.tile, "tile_reason": s.tile_reason, "macs": s.macs,
                     "modelled_us": s.modelled_us}
                    for s in package.steps
                ],
            }
        )  # fmt: skip
        return 0
    place = f"modelled on {target.name}, batch {args.batch}, {target.precision}"
    memory = memory_text(package.weight_bytes, package.arena_bytes, package.peak_live_bytes)
    print_fields(
        [
            ("package", output),
            ("size", bytes_text(size)),
            ("kernels", f"{len(package.steps)} steps, {count_text(macs)} MACs"),
            ("memory", memory),
            ("tiles", _tiles_text(package)),
            ("latency", f"{milliseconds_text(package.modelled_latency_ms)} {place}"),
            ("next", f"act bench {output}    act inspect {output}"),
        ]
    )
    return 0


def _tiles_text(package: "CompiledPackage") -> str:
    """Where the tiles come from: by rule, or how many were tuned, and where."""
    tiled = [step for step in package.steps if step.tile]
    tuned = [step for step in tiled if step.tile_reason.startswith("tuned on")]
    if not tuned:
        return f"{len(tiled)} by the rule (act tune measures others)"
    devices = dict.fromkeys(step.tile_reason.partition(": ")[0].removeprefix("tuned on ") for step in tuned)
    return f"{len(tuned)} tuned on {', '.join(devices)}, {len(tiled) - len(tuned)} by the rule"
