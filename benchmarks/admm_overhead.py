"""What an ADMM step costs beside a plain one, and what a compacted network's epoch costs beside the dense one's.

    python benchmarks/admm_overhead.py --network resnet20 --out benchmarks/results/admm_overhead.json

Everything is a ratio within one run: the epochs that are compared alternate, and medians of ratios are taken. Both
trainings are `train` itself, on random images of CIFAR-10's size (time does not depend on what they show); they differ
in the penalty alone, as `act compress` makes it. The projection at an epoch's end is timed apart: a step is what it is
beside, and an epoch of CIFAR-10 has 391 steps. Then the network is compacted round by round, each at half the MACs of
the one before, by filters alone and by filters with columns. On the CPU, seconds are the processor time of this process
on one thread, which other programs hardly disturb. Asked: an ADMM step at most 1.05 times a plain one.
"""

import argparse
import copy
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from act.models.data import Augmentation
from act.models.image_set import ImageSet
from act.models.preprocessing import Preprocessing
from act.models.registry import create_model, default_arguments
from act.toolchain.batches import Batches
from act.toolchain.capture import CapturedNetwork, capture
from act.toolchain.compaction import compact
from act.toolchain.cost import count_macs
from act.toolchain.coupling import find_coupling
from act.toolchain.environment import describe_environment
from act.toolchain.folding import folded_weights, plain_weights, weighted_modules
from act.toolchain.granularity import granularity_from_name
from act.toolchain.hardware import compute_device, training_precision
from act.toolchain.masking import masked_weights
from act.toolchain.plan_choice import Scores
from act.toolchain.recipe import Recipe
from act.toolchain.search.action import Action
from act.toolchain.search.budget import Budget
from act.toolchain.search.plan_space import PlanSpace
from act.toolchain.solvers.admm import Admm, RhoSchedule
from act.toolchain.training import Penalty, train

SIDE, CLASSES = 32, 10
AUGMENTATION = Augmentation(flip=True, shift=4)


def random_batches(images: int, device: torch.device) -> Batches:
    """Random images with random labels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, SIDE, SIDE, 3), dtype=np.uint8)
    record = Preprocessing(height=SIDE, width=SIDE, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return Batches(ImageSet(images=pixels, labels=rng.integers(0, CLASSES, images)), record, device)


def space_of(network: CapturedNetwork, granularity: str) -> PlanSpace:
    """What may be pruned, ranked as `act compress` does."""
    weights = folded_weights(network, plain_weights(network))
    return PlanSpace(
        network, find_coupling(network), weights, granularity=granularity_from_name(granularity), latency_of=None
    )


def halving(network: CapturedNetwork, granularity: str) -> Action:
    """The action that halves a network's MACs, alike in all layers."""
    space = space_of(network, granularity)
    budget = Budget(limits={"macs": count_macs(network) / 2})
    return budget.project(space.actions.uniform(), space.priced).action


def admm_penalty(network: CapturedNetwork, action: Action, epochs: int) -> "TimedPenalty":
    """ADMM on the weights of `network`, as the stage of `act compress` makes it."""
    coupling, space = find_coupling(network), space_of(network, "combined")
    layers = set(space.actions.layer_share)
    layers |= {ref.layer for group in coupling.groups if group.name in action.filter_ratio for ref in group.producers}
    modules = weighted_modules(network)
    weights = {name: modules[name].weight for name in sorted(layers)}
    everything = plain_weights(network)

    def project(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        scores = Scores(coupling, folded_weights(network, {**everything, **values}))
        return masked_weights(values, coupling, space.plan(action, scores))

    return TimedPenalty(Admm(weights, project, RhoSchedule(start=1e-4, end=1e-2, epochs=epochs)))


class TimedPenalty:
    """A penalty whose work at an epoch's end is timed apart."""

    def __init__(self, penalty: Penalty) -> None:
        self._penalty = penalty
        self.epoch_end_seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._penalty, name)

    def end_epoch(self, *args: Any) -> None:
        """Pass on and time."""
        began = now()
        self._penalty.end_epoch(*args)
        self.epoch_end_seconds = now() - began


def now() -> float:
    """Processor time on the CPU, wall time with a GPU whose work is done."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def copied(network: CapturedNetwork) -> CapturedNetwork:
    """The network with weights of its own."""
    return replace(network, module=copy.deepcopy(network.module))


def epoch_seconds(network: CapturedNetwork, batches: Batches, recipe: Recipe, penalty: Penalty | None = None) -> float:
    """Seconds of one epoch of `train`."""
    device = next(network.module.parameters()).device
    began = now()
    train(network.module, batches, AUGMENTATION, recipe, device=device, penalty=penalty)
    return now() - began


def compacted(network: CapturedNetwork, granularity: str) -> CapturedNetwork:
    """The network at half its MACs."""
    plan, _ = space_of(network, granularity).priced(halving(network, granularity))
    smaller = copied(network)
    smaller.module.cpu()
    return compact(smaller, find_coupling(smaller), plan)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--images", type=int, default=1024, help="images of an epoch")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--compile", choices=("on", "off"), default="off")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    device = compute_device()
    torch.set_num_threads(args.threads)
    recipe = Recipe(
        epochs=1,
        learning_rate=0.01,
        batch_size=args.batch_size,
        precision=training_precision(args.precision, device, SIDE * SIDE),
        compile=args.compile,
    )
    batches = random_batches(args.images, device)
    arguments = default_arguments(args.network, num_classes=CLASSES, image_shape=(3, SIDE, SIDE))
    dense = capture(create_model(args.network, **arguments).eval(), (3, SIDE, SIDE))
    dense.module.to(device)
    figures = {
        "network": args.network,
        "batch_size": args.batch_size,
        "precision": recipe.precision,
        "compile": recipe.compile,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "repeats": args.repeats,
        "admm": admm_figures(dense, batches, recipe, args.repeats),
        "rounds": {
            granularity: round_figures(dense, batches, recipe, args.repeats, args.rounds, granularity)
            for granularity in ("filter", "combined")
        },
        **describe_environment(),
    }
    print(json.dumps(figures, indent=2))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(figures, indent=2) + "\n")


def admm_figures(dense: CapturedNetwork, batches: Batches, recipe: Recipe, repeats: int) -> dict[str, object]:
    """Seconds of a step with and without ADMM, by turns; the ratio of each pair."""
    action = halving(dense, "combined")
    plain, pruned = copied(dense), copied(dense)
    penalty = admm_penalty(pruned, action, repeats + 1)
    steps = recipe.steps_per_epoch(len(batches))
    seconds: list[tuple[float, float]] = []
    ends: list[float] = []
    for turn in range(repeats + 1):  # the first warms up
        pair = epoch_seconds(plain, batches, recipe), epoch_seconds(pruned, batches, recipe, penalty)
        if turn:
            seconds.append((pair[0] / steps, (pair[1] - penalty.epoch_end_seconds) / steps))
            ends.append(penalty.epoch_end_seconds)
    ratios = [with_admm / without for without, with_admm in seconds]
    return {
        "plain_step_ms": 1000 * statistics.median(pair[0] for pair in seconds),
        "admm_step_ms": 1000 * statistics.median(pair[1] for pair in seconds),
        "ratio_median": statistics.median(ratios),
        "ratios": ratios,
        "asked": 1.05,
        "projection_ms_per_epoch": 1000 * statistics.median(ends),
    }


def round_figures(
    dense: CapturedNetwork, batches: Batches, recipe: Recipe, repeats: int, rounds: int, granularity: str
) -> list[dict[str, object]]:
    """Seconds of an epoch of each round's network beside the dense one's, by turns, and their MACs."""
    networks = [copied(dense)]
    device = next(dense.module.parameters()).device
    for _ in range(rounds):
        networks.append(compacted(networks[-1], granularity))
    for network in networks:
        network.module.to(device)
    turns = [[epoch_seconds(network, batches, recipe) for network in networks] for _ in range(repeats + 1)][1:]
    macs = [count_macs(network) for network in networks]
    return [
        {
            "round": index,
            "macs": macs[index],
            "epoch_seconds": statistics.median(turn[index] for turn in turns),
            "macs_ratio": macs[0] / macs[index],
            "speed_ratio": statistics.median(turn[0] / turn[index] for turn in turns),
        }
        for index in range(len(networks))
    ]


if __name__ == "__main__":
    main()
