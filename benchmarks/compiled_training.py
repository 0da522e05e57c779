"""What torch.compile gains in training: steps of the plain and of the compiled network side by side.

    python benchmarks/compiled_training.py --network resnet20 --out benchmarks/results/compiled_training.json

Both train by the same recipe on random images of CIFAR-10's size (time does not depend on what they show); their epochs
alternate, and the median of the ratios is taken, for the dense network and for one at half its MACs. The
seconds that compiling took stand beside it: divided by what a step saves, they are the steps after which it pays.
"""

import argparse
import copy
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from act.models.registry import create_model, default_arguments
from act.toolchain.capture import CapturedNetwork, capture
from act.toolchain.cost import count_macs
from act.toolchain.distributed import Processes
from act.toolchain.environment import describe_environment
from act.toolchain.hardware import compute_device, training_precision
from act.toolchain.recipe import Recipe
from act.toolchain.replica import Replica
from admm_overhead import AUGMENTATION, CLASSES, SIDE, compacted, random_batches


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--steps", type=int, default=4, help="steps of an epoch here")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    shape = (3, SIDE, SIDE)
    arguments = default_arguments(args.network, num_classes=CLASSES, image_shape=shape)
    dense = capture(create_model(args.network, **arguments).eval(), shape)
    small = compacted(dense, "combined")
    rows = [measured(network, count_macs(dense) / count_macs(network), args) for network in (dense, small)]
    results = {
        "network": args.network,
        "precision": training_precision("auto", compute_device(), SIDE * SIDE),
        "threads": torch.get_num_threads(),
        "device": compute_device().type,
        "rows": rows,
        **describe_environment(),
    }
    print(json.dumps(results, indent=2))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=2) + "\n")


def measured(network: CapturedNetwork, macs_ratio: float, args: argparse.Namespace) -> dict[str, Any]:
    """Alternating epochs of the plain and of the compiled network."""
    began = time.perf_counter()
    replicas = {mode: _replica(network, mode, args) for mode in ("off", "on")}
    replicas["on"].epoch(0)
    seconds = time.perf_counter() - began
    ratios, steps = [], []
    for repeat in range(args.repeats):
        spent = {mode: _seconds(replica, repeat) for mode, replica in replicas.items()}
        ratios.append(spent["off"] / spent["on"])
        steps.append(1e3 * spent["off"] / args.steps)
    return {
        "macs_ratio": macs_ratio,
        "compile_seconds": seconds,
        "plain_step_ms": statistics.median(steps),
        "speed_ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def _replica(network: CapturedNetwork, mode: str, args: argparse.Namespace) -> Replica:
    device = compute_device()
    recipe = Recipe(
        epochs=args.repeats,
        learning_rate=1e-3,
        batch_size=args.batch_size,
        precision=training_precision("auto", device, SIDE * SIDE),
        compile=mode,
    )
    return Replica(
        copy.deepcopy(network.module),
        random_batches(args.steps * args.batch_size, device),
        AUGMENTATION,
        recipe,
        device=device,
        teacher=None,
        processes=Processes(),
        warn=print,
    )


def _seconds(replica: Replica, epoch: int) -> float:
    began = time.perf_counter()
    replica.epoch(epoch)
    if compute_device().type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
