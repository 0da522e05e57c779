"""Single weights pruned with ADMM or SLR: accuracy against non-zero weights, the paper's table 5.

    python benchmarks/unstructured.py resnet20 --weights resnet20.safetensors --data cifar10:DIR --keep 0.1

Nothing gets smaller or faster by it; `act compress` refuses it. The figures bound what structure costs in accuracy.
"""

import argparse
import copy
import json
import math
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from act.models.data import load_data
from act.toolchain.batches import Batches
from act.toolchain.environment import describe_environment
from act.toolchain.evaluation import evaluate
from act.toolchain.hardware import compute_device, training_precision
from act.toolchain.loading import load_network
from act.toolchain.solvers.base import SolverOptions, StopRule
from act.toolchain.solvers.selection import SOLVERS, SolverSettings
from act.toolchain.training import Recipe
from act.toolchain.unstructured import prune_unstructured


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--keep", type=float, default=0.1, help="share of the weights that stay")
    parser.add_argument("--solver", choices=SOLVERS, default="admm")
    parser.add_argument("--epochs", type=int, default=20, help="of the solver")
    parser.add_argument("--retrain-epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    """Prune once, print and write the figures."""
    args = arguments()
    data = load_data(args.data, seed=args.seed)
    loaded = load_network(
        args.model,
        weights=args.weights,
        preprocessing=data.preprocessing,
        num_classes=data.num_classes,
        image_shape=data.image_shape,
        arguments={},
        allow_code=True,
        seed=args.seed,
    )
    device, network = compute_device(), loaded.network
    height, width = network.input_shape[1:]
    train_part, test = (Batches(part, loaded.preprocessing, device) for part in (data.train, data.test))
    teacher = copy.deepcopy(network.module).to(device).eval()
    before = evaluate(teacher, test).accuracy_top1
    recipe = Recipe(
        epochs=args.epochs,
        learning_rate=0.01,
        precision=training_precision("auto", device, height * width),
        distillation=0.7,
        final_rate_share=0.1,
        seed=args.seed,
    )
    settings = SolverSettings(
        name=args.solver,
        epochs=args.epochs,
        steps=math.ceil(len(train_part) / recipe.batch_size),
        rate=recipe.learning_rate / (1 - recipe.momentum),
        pull_start=0.02,
        pull_end=3.0,
        slr_pull=1.0,
    )
    torch.manual_seed(args.seed)
    began = time.perf_counter()
    left = prune_unstructured(
        network,
        train_part,
        data.augmentation,
        keep_share=args.keep,
        solver=settings,
        options=SolverOptions(stop=StopRule(tolerance=1e-3)),
        recipe=recipe,
        retraining=replace(recipe, epochs=args.retrain_epochs, learning_rate=0.03, final_rate_share=0.0),
        device=device,
        teacher=teacher,
    )
    figures = {
        "network": args.model,
        "solver": args.solver,
        "seed": args.seed,
        "accuracy_before": before,
        "accuracy_after": evaluate(network.module, test).accuracy_top1,
        "weights": asdict(left),
        "ratio": left.total / left.nonzero,
        "conv_ratio": left.conv / max(left.conv_nonzero, 1),
        "seconds": time.perf_counter() - began,
        **describe_environment(),
    }
    print(json.dumps(figures, indent=2))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
