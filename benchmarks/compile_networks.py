"""Every torchvision classification network through export, compiler and a local OpenCL device, against onnxruntime.

    python benchmarks/compile_networks.py [PATTERN] --out benchmarks/results/compile_networks.json

Each network gets random weights and random batch-norm statistics, is exported by this project's exporter, compiled for
every `--target`, and the package is run on the `--device` of its kind with random images; the difference to onnxruntime
on the exported file is relative to the largest output. One process a network, with a time limit; the results are
written after every network. Vision transformers are in the list too: they work, or the operator that is missing is
named. Packages for a phone's target run on the local device as well: their kernels are plain OpenCL C.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from act.device.precision import TOLERANCES
from torchvision_networks import input_size, randomize_norms

TARGETS = ("adreno640", "host-opencl")
DEVICES = ("opencl:0", "vulkan:0")


def main() -> None:
    """Check every network in a process of its own, and print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="*", help="shell pattern of networks' names")
    parser.add_argument(
        "--target", action="append", dest="targets", metavar="T[:fp16]", help="default: " + ", ".join(TARGETS)
    )
    parser.add_argument("--compile-only", action="append", default=[], metavar="T", help="do not run packages for T")
    parser.add_argument(
        "--device", action="append", dest="devices", help="runs the packages of its kind (default: opencl:0, vulkan:0)"
    )
    parser.add_argument("--size", type=int, help="side of the images (default: what each network expects)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one network")
    parser.add_argument("--skip-done", action="store_true", help="keep what --out has already")
    parser.add_argument("--one", action="store_true", help="check PATTERN in this process and print its row as JSON")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    targets = args.targets or list(TARGETS)
    if args.one:
        kinds = {device.partition(":")[0]: device for device in args.devices or DEVICES}
        print(json.dumps(check(args.pattern, targets, set(args.compile_only), kinds, args.size, args.seed)))
        return
    from act.models.torchvision_compat import import_torchvision

    models = import_torchvision().models
    rows = _earlier(args.out) if args.skip_done else {}
    for name in models.list_models(module=models, include=args.pattern):
        if name not in rows:
            rows[name] = _in_a_process(name, targets, args)
            _write(args, targets, rows)
        print(_line(rows[name]), flush=True)
    print(_summary([rows[name] for name in sorted(rows)], targets))


def check(
    name: str, targets: list[str], compiled_only: set[str], devices: dict[str, str], size: int | None, seed: int
) -> dict[str, Any]:
    """One network: export, then compile, run and compare for each target."""
    import numpy as np
    import onnxruntime
    from act.device.devices import open_device
    from act.toolchain.export import ExportError

    side = size or input_size(name)
    row: dict[str, Any] = {"network": name, "size": side}
    images = np.random.default_rng(seed).standard_normal((1, 3, side, side), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        try:
            row |= _export(name, side, seed, file)
        except ExportError as error:
            return row | {"error": f"export: {error}"}
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        expected = np.asarray(session.run(None, {"input": images})[0])
        del session
        row["targets"] = {}
        for target in targets:
            device = None if target in compiled_only else open_device(devices[target_of(target).backend])
            row["targets"][target] = _check_target(file, target, device, images, expected)
    row["passed"] = all(
        "error" not in found and found.get("difference", 0.0) <= tolerance_of(target)
        for target, found in row["targets"].items()
    )
    row["peak_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return row


def _export(name: str, side: int, seed: int, file: Path) -> dict[str, Any]:
    """Write the network; the torch objects are gone when this returns."""
    import onnx
    import torch
    from act.models.torchvision_compat import import_torchvision
    from act.toolchain.capture import capture
    from act.toolchain.export import export_onnx

    torch.manual_seed(seed)
    models = import_torchvision().models
    arguments: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        arguments = {"aux_logits": False, "init_weights": False}
    if name.startswith("vit_"):
        arguments = {"image_size": side}
    began = time.perf_counter()
    model = models.get_model(name, weights=None, **arguments).eval()
    randomize_norms(model, seed)
    _spread_weights(model, seed)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    export_onnx(capture(model, (3, side, side)), file, preprocessing=None)
    seconds = time.perf_counter() - began
    operators = Counter(node.op_type for node in onnx.load(file).graph.node)
    return {
        "params": parameters,
        "onnx_bytes": file.stat().st_size,
        "operators": dict(sorted(operators.items())),
        "export_seconds": seconds,
    }


def _spread_weights(model: Any, seed: int) -> None:
    """Scales that begin at almost nothing, heads of zeros and layer norms of ones would hide a mistake."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.endswith("layer_scale"):
            parameter.data.uniform_(0.1, 0.3, generator=generator)
        elif parameter.ndim >= 2 and not parameter.any():
            parameter.data.normal_(0, 0.05, generator=generator)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.2, 0.2, generator=generator)


def _check_target(file: Path, target: str, device: Any, images: Any, expected: Any) -> dict[str, Any]:
    import numpy as np
    from act.compiler.compile import compile_onnx
    from act.compiler.errors import CompileError, OnnxInputError
    from act.device.errors import DeviceError
    from act.device.harness import run_inputs
    from act.device.package_format import PackageError

    package = file.with_name(f"{target.replace(':', '-')}.actpkg")
    try:
        compiled = compile_onnx(file, target_of(target), output=package)
        row: dict[str, Any] = {
            "compile_seconds": compiled.seconds,
            "steps": len(compiled.steps),
            "copies": dict(Counter(step.reason for step in compiled.steps if step.source_op == "copy")),
            "generic": dict(Counter(step.source_op for step in compiled.steps if step.lowering == "generic")),
            "macs": sum(step.macs for step in compiled.steps),
            "modelled_latency_ms": compiled.modelled_latency_ms,
            "arena_bytes": compiled.arena_bytes,
            "weight_bytes": compiled.weight_bytes,
        }
        del compiled
        if device is None:
            return row
        row["device"] = device.info.name
        began = time.perf_counter()
        found = run_inputs(package, device, images)
    except (CompileError, OnnxInputError, PackageError, DeviceError) as error:
        return {"error": f"{type(error).__name__}: {str(error)[:600]}"}
    finally:
        package.unlink(missing_ok=True)
    row["run_seconds"] = time.perf_counter() - began
    row["difference"] = float(np.abs(found - expected).max() / np.abs(expected).max())
    return row


def target_of(text: str) -> Any:
    """The target of a name with its precision behind a colon; fp32 without."""
    from act.compiler.targets import get_target

    return get_target(text.partition(":")[0], precision=precision_of(text))


def precision_of(text: str) -> str:
    """What stands behind the colon of a target's name."""
    return text.partition(":")[2] or "fp32"


def tolerance_of(text: str) -> float:
    """Largest difference that is allowed on a target."""
    return TOLERANCES[precision_of(text)]


def _in_a_process(name: str, targets: list[str], args: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, name, "--one", "--seed", str(args.seed)]
    command += [text for device in args.devices or () for text in ("--device", device)]
    command += [text for target in targets for text in ("--target", target)]
    command += ["--size", str(args.size)] if args.size else []
    command += [text for target in args.compile_only for text in ("--compile-only", target)]
    began = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.timeout, check=False)
    except subprocess.TimeoutExpired:
        return {"network": name, "error": f"longer than {args.timeout:g} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"network": name, "error": lines[-1] if lines else f"ended with {done.returncode}"}
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row | {"seconds": time.perf_counter() - began}


def _earlier(path: Path | None) -> dict[str, dict[str, Any]]:
    if path is None or not path.is_file():
        return {}
    return {row["network"]: row for row in json.loads(path.read_text())["networks"]}


def _write(args: argparse.Namespace, targets: list[str], rows: dict[str, dict[str, Any]]) -> None:
    from act.toolchain.environment import describe_environment

    if args.out is None:
        return
    args.out.parent.mkdir(parents=True, exist_ok=True)
    networks = [rows[name] for name in sorted(rows)]
    result = {"targets": targets, "seed": args.seed, "networks": networks}
    temporary = args.out.with_suffix(".tmp")
    temporary.write_text(json.dumps(result | describe_environment(), indent=2) + "\n")
    temporary.replace(args.out)


def _line(row: dict[str, Any]) -> str:
    if "targets" not in row:
        return f"{row['network']:24s} {row.get('error', 'nothing')[:150]}"
    parts = []
    for target, found in row["targets"].items():
        if "error" in found:
            parts.append(f"{target}: {found['error'][:110]}")
            continue
        steps = f"{found['steps']} steps ({sum(found['copies'].values())} copies)"
        text = f"{target}: {steps}, compiled in {found['compile_seconds']:.0f} s"
        if "difference" in found:
            verdict = "ok" if found["difference"] <= tolerance_of(target) else "DIFFERS"
            text += f", {verdict} {found['difference']:.0e}, run in {found['run_seconds']:.0f} s"
        parts.append(text)
    memory = f"{row['peak_memory_gb']:.1f} GB"
    return f"{row['network']:24s} {row['size']:3d}px {memory} | " + " | ".join(parts)


def _summary(rows: list[dict[str, Any]], targets: list[str]) -> str:
    lines = []
    for target in targets:
        found = [row["targets"][target] for row in rows if target in row.get("targets", {})]
        compiled = sum("error" not in row for row in found)
        right = [row["difference"] for row in found if row.get("difference", 1.0) <= tolerance_of(target)]
        worst = f", worst difference {max(right):.1e}" if right else ""
        lines.append(f"{target}: {compiled} of {len(rows)} compile, {len(right)} match onnxruntime{worst}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
