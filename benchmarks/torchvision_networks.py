"""Every torchvision classification network through capture, pruning, compaction and ONNX, beside Torch-Pruning.

    python benchmarks/torchvision_networks.py [PATTERN] --out benchmarks/results/torchvision_networks.json

Each network gets random weights and random batch-norm statistics, loses `--ratio` of the filters of every prunable
group and as many columns of every layer, by magnitude, and is compared on random images: masked against compact against
onnxruntime, relative to the largest output. What is frozen is counted and named. Nothing is trained: this is about
correctness, and about how much of each network can be pruned at all.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TOLERANCE = 1e-4


def main() -> None:
    """Check every network in a process of its own, and print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--ratio", type=float, default=0.3, help="share of filters and of columns removed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one network")
    parser.add_argument("--one", action="store_true", help="check PATTERN in this process and print its row as JSON")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(check(args.pattern, args.ratio, args.seed)))
        return
    from act.models.torchvision_compat import import_torchvision
    from act.toolchain.environment import describe_environment

    models = import_torchvision().models
    rows = []
    for name in models.list_models(module=models, include=args.pattern):
        row = _in_a_process(name, args)
        rows.append(row)
        print(_line(row), flush=True)
        if args.out is not None:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            result = {"ratio": args.ratio, "seed": args.seed, "networks": rows, **describe_environment()}
            args.out.write_text(json.dumps(result, indent=2) + "\n")
    passed = sum(row.get("passed", False) for row in rows)
    theirs = sum(row.get("torch_pruning", {}).get("ok", False) for row in rows)
    print(f"{passed} of {len(rows)} equal; Torch-Pruning prunes {theirs}")


def check(name: str, ratio: float, seed: int) -> dict[str, Any]:
    """One network: coupling, plan, masked, compact, ONNX."""
    import numpy as np
    import torch
    from act.models.torchvision_compat import import_torchvision
    from act.toolchain.capture import capture
    from act.toolchain.compaction import compact
    from act.toolchain.cost import CostTable
    from act.toolchain.coupling import find_coupling
    from act.toolchain.equality import relative_difference
    from act.toolchain.export import export_onnx
    from act.toolchain.folding import plain_weights
    from act.toolchain.masking import make_masks
    from act.toolchain.plan_choice import choose_plan

    torch.manual_seed(seed)
    torch.set_num_threads(2)
    began = time.perf_counter()
    models = import_torchvision().models
    arguments = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = models.get_model(name, weights=None, **arguments).eval()
    randomize_norms(model, seed)
    size = input_size(name)
    network = capture(model, (3, size, size))
    coupling = find_coupling(network)
    table = CostTable(network, coupling)
    plan = choose_plan(
        network,
        coupling,
        plain_weights(network),
        {group.name: max(1, round((1 - ratio) * group.size)) for group in coupling.prunable},
        dict.fromkeys(coupling.column_layers, 1 - ratio),
    )
    row: dict[str, Any] = {
        "network": name,
        "size": size,
        "groups": len(coupling.groups),
        "prunable_groups": len(coupling.prunable),
        "frozen": [{"layer": layer, "reason": reason} for layer, reason in coupling.frozen],
        "params": table.count_params().total,
        "params_left": table.count_params(plan).total,
        "macs": table.count_macs(),
        "macs_left": table.count_macs(plan),
    }
    images = torch.randn(2, 3, size, size)
    small = compact(network, coupling, plan)
    with torch.no_grad():
        make_masks(network, coupling, plan).apply_(network.module)
        masked = network.module.eval()(images).numpy()
        del network, model
        compacted = small.module.eval()(images).numpy()
    row["compact_difference"] = relative_difference(compacted, masked)
    with tempfile.TemporaryDirectory() as folder:
        import onnxruntime

        file = Path(folder) / "model.onnx"
        export_onnx(small, file, preprocessing=None)
        del small
        row["onnx_bytes"] = file.stat().st_size
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        found = np.asarray(session.run(None, {"input": images.numpy()})[0])
    row["onnx_difference"] = relative_difference(found, masked)
    row["passed"] = max(row["compact_difference"], row["onnx_difference"]) <= TOLERANCE
    row["seconds"] = time.perf_counter() - began
    row["peak_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return row


def randomize_norms(model: Any, seed: int) -> None:
    """Statistics and scales far from those of a fresh network, so that a mistake shows."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in ((module.weight, 0.5, 1.5), (module.bias, -0.2, 0.2)):
                tensor.data.uniform_(low, high, generator=generator)
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)


def input_size(name: str) -> int:
    """Side of the images a network takes."""
    return {"inception_v3": 299, "vit_h_14": 224}.get(name, 256 if name.startswith("swin_v2") else 224)


def torch_pruning(name: str, ratio: float, seed: int) -> dict[str, Any]:
    """The same share of channels removed by Torch-Pruning's magnitude pruner (group L2 norm)."""
    import torch
    import torch_pruning as tp
    from act.models.torchvision_compat import import_torchvision

    torch.manual_seed(seed)
    models = import_torchvision().models
    arguments = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = models.get_model(name, weights=None, **arguments).eval()
    images = torch.randn(1, 3, input_size(name), input_size(name))
    before = sum(p.numel() for p in model.parameters())
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)][-1]
    importance = tp.importance.GroupMagnitudeImportance(p=2)
    pruner = tp.pruner.GroupNormPruner(
        model, images, importance=importance, pruning_ratio=ratio, ignored_layers=[last], global_pruning=False
    )
    pruner.step()
    with torch.no_grad():
        model(images)
    after = sum(p.numel() for p in model.parameters())
    return {"ok": after < before, "params": before, "params_left": after}


def _in_a_process(name: str, args: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, name, "--one", "--ratio", str(args.ratio), "--seed", str(args.seed)]
    row = _json_of(command, args.timeout) | {"network": name}
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import torchvision_networks as t;"
        "print(json.dumps(t.torch_pruning(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))))"
    )
    place = str(Path(__file__).parent)
    row["torch_pruning"] = _json_of(
        [sys.executable, "-c", code, place, name, str(args.ratio), str(args.seed)], args.timeout
    )
    return row


def _json_of(command: list[str], timeout: float) -> dict[str, Any]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"longer than {timeout:g} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"ended with {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _line(row: dict[str, Any]) -> str:
    theirs = row["torch_pruning"]
    tp = f"{theirs['params'] / theirs['params_left']:.2f}x" if theirs.get("ok") else str(theirs.get("error", "nothing"))
    if "error" in row:
        return f"{row['network']:24s} {row['error'][:100]} | Torch-Pruning {tp[:60]}"
    shares = f"{row['params'] / row['params_left']:5.2f}x params {row['macs'] / max(row['macs_left'], 1):5.2f}x MACs"
    differences = f"compact {row['compact_difference']:.0e} ONNX {row['onnx_difference']:.0e}"
    groups = f"{row['prunable_groups']}/{row['groups']} groups"
    verdict = "ok" if row["passed"] else "DIFFERS"
    ours = f"{verdict} {shares} {groups} {differences} {row['seconds']:.0f} s"
    return f"{row['network']:24s} {ours} | Torch-Pruning {tp[:60]}"


if __name__ == "__main__":
    main()
