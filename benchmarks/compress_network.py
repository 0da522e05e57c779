"""One `act compress` run as a line of RESULTS.md: accuracy, sizes, time, hardware.

    python benchmarks/compress_network.py resnet20 --weights resnet20.safetensors --data cifar10:DIR --macs-x 2
    python benchmarks/write_results.py

Weights of ResNet-20 and ResNet-56: https://github.com/akamaster/pytorch_resnet_cifar10 (BSD-2-Clause). Data: CIFAR-10
as `train-0.npz` … `test.npz` or torchvision's `cifar-10-batches-py`. What stands after `--` is handed to
`act compress` as it is. A run folder given with `--run` is kept, and continued where it was interrupted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run once, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--macs-x", type=float)
    parser.add_argument("--params-x", type=float)
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="run folder; a temporary one without it")
    parser.add_argument("--out", type=Path, help="default results/compress-NETWORK-RATE-EFFORT-SEED.json")
    args, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = run(args, args.run or Path(folder) / "run", [part for part in rest if part != "--"])
    print(json.dumps(figures, indent=2))
    out = args.out or RESULTS / f"compress-{args.network}-{rate_of(args)}-{args.effort}-{args.seed}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=2) + "\n")


def run(args: argparse.Namespace, folder: Path, rest: list[str]) -> dict[str, Any]:
    """Run or resume `act compress` in `folder`; time spent is summed over tries."""
    command = [sys.executable, "-m", "act.toolchain", "compress", args.network, "--target", "adreno640", *rest]
    if (folder / "config.toml").exists():
        command += ["--resume"]
    else:
        command += ["--data", args.data, "--effort", args.effort, "--seed", str(args.seed)]
        command += ["--weights", str(args.weights)] if args.weights else []
        command += ["--macs-x", str(args.macs_x)] if args.macs_x else []
        command += ["--params-x", str(args.params_x)] if args.params_x else []
    spent = folder.with_name(folder.name + ".seconds")
    began = time.perf_counter() - (float(spent.read_text()) if spent.exists() else 0.0)
    try:
        done = subprocess.run([*command, "--json", "--out", str(folder)], stdout=subprocess.PIPE, check=False)
    finally:
        seconds = time.perf_counter() - began
        spent.write_text(str(seconds))
    if not done.stdout:
        sys.exit(done.returncode)
    report = json.loads(done.stdout)
    before, after = report["baseline"], report["result"]
    return {
        "network": args.network,
        "data": args.data.split(":", 1)[0],
        "effort": args.effort,
        "settings": " ".join(rest),
        "seed": args.seed,
        "granularity": report["granularity"],
        "seconds": seconds,
        "exit_code": done.returncode,
        "accuracy_before": before["accuracy_top1"],
        "accuracy_after": after["accuracy_top1"],
        "search_accuracy_before": before["reference_search_accuracy_top1"],
        "search_accuracy_after": after["search_accuracy_top1"],
        **{key: after[key] for key in ("params", "conv_params", "macs")},
        "ratios": report["ratios"],
        "constraint": report["constraint"],
        "rounds": len(report["rounds"]),
        "largest_difference": max(check["difference"] for check in report["equality"]),
        "environment": report["environment"],
    }


def rate_of(args: argparse.Namespace) -> str:
    """The constraint, for a file's name."""
    parts = [f"{value:g}x{kind}" for kind, value in (("macs", args.macs_x), ("params", args.params_x)) if value]
    return "-".join(parts) or "smallest"


if __name__ == "__main__":
    main()
