"""ResNet-20 on CIFAR-10 at half its MACs: accuracy, time and constraint of one `act compress` run.

    python benchmarks/compress_cifar10.py --weights resnet20.safetensors --data DIR

Weights: ResNet-20 of https://github.com/akamaster/pytorch_resnet_cifar10 (BSD-2-Clause). Data: CIFAR-10 as
`train-0.npz` … `test.npz` or torchvision's `cifar-10-batches-py`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Run once, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--macs-x", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    flags = ["--weights", str(args.weights), "--data", f"cifar10:{args.data}", "--macs-x", str(args.macs_x)]
    base = [sys.executable, "-m", "act.toolchain", "compress", "resnet20", "--target", "adreno640", "--effort", "quick"]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [*base, *flags, "--seed", str(args.seed), "--json", "--out", f"{folder}/run"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        seconds = time.perf_counter() - began
    report = json.loads(done.stdout)
    figures = {
        "seconds": seconds,
        "exit_code": done.returncode,
        "seed": args.seed,
        "accuracy_before": report["baseline"]["accuracy_top1"],
        "accuracy_after": report["result"]["accuracy_top1"],
        "ratios": report["ratios"],
        "constraint": report["constraint"],
        "environment": report["environment"],
    }
    print(json.dumps(figures, indent=2))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
