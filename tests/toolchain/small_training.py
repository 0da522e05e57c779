"""A training of digits with everything that processes share; a script for torchrun, and imported by the tests.

    python -m torch.distributed.run --standalone --nproc-per-node 2 small_training.py FOLDER [--lose kill|stop]

Process 0 writes `FOLDER/weights.pt`; its position is `FOLDER/position.pt`. With `--lose`, process 1 kills or stops
itself once an epoch is finished.
"""

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch
from act.models.data import load_data
from act.models.layers import ColumnConv2d
from act.toolchain.batches import Batches
from act.toolchain.capture import capture
from act.toolchain.distributed import Processes, join_processes
from act.toolchain.errors import LostProcessError, exit_code_of, explain
from act.toolchain.recipe import Recipe
from act.toolchain.solvers.admm import Admm, RhoSchedule
from act.toolchain.training import TrainingSummary, serve, train
from torch import nn

CPU = torch.device("cpu")
RECIPE = Recipe(
    epochs=3, learning_rate=0.05, batch_size=64, seed=5, distillation=0.5, label_smoothing=0.1, batch_parts=2
)


class Net(nn.Module):
    """Batch norm, packed columns and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        columns = torch.arange(0, 72, 2)
        self.conv2, self.bn2 = ColumnConv2d(8, 12, (3, 3), columns, padding=(1, 1), bias=False), nn.BatchNorm2d(12)
        self.dropout, self.linear = nn.Dropout(0.2), nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.linear(self.dropout(x.mean((2, 3))))


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return capture(Net(), (1, 8, 8)).module


def halved(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Keep the half of each weight's rows with the largest norms."""
    result = {}
    for name, value in values.items():
        kept = value.flatten(1).norm(dim=1).topk(len(value) // 2).indices
        result[name] = torch.zeros_like(value)
        result[name][kept] = value[kept]
    return result


def train_small(
    folder: Path, processes: Processes | None = None, recipe: Recipe = RECIPE
) -> tuple[dict[str, torch.Tensor], TrainingSummary]:
    """Train twice, so that data already sent is used again; returns the weights and the second summary."""
    data = load_data("digits", seed=0, limit_train=300)
    batches = Batches(data.train, data.preprocessing, CPU)
    module, teacher = network(0), network(1).eval()
    weights = {name: p for name, p in module.named_parameters() if p.ndim > 1 and "conv" in name}
    penalty = Admm(weights, halved, RhoSchedule(start=0.01, end=0.1, epochs=recipe.epochs))
    train(
        module,
        batches,
        data.augmentation,
        recipe,
        device=CPU,
        teacher=teacher,
        penalty=penalty,
        checkpoint=folder / "position.pt",
        processes=processes,
    )
    averaged = Recipe(epochs=1, learning_rate=0.01, batch_size=64, seed=6, ema_decay=0.9, batch_parts=2)
    summary = train(module, batches, data.augmentation, averaged, device=CPU, processes=processes)
    return module.state_dict(), summary


def lose_this_process(sign: Path, number: signal.Signals) -> None:
    """Send a signal to this very process once a file is there."""

    def wait() -> None:
        while not sign.exists():
            time.sleep(0.005)
        os.kill(os.getpid(), number)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lose", choices=("kill", "stop"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        with join_processes() as processes:
            if processes.main:
                state, _ = train_small(args.folder, processes)
                torch.save(state, args.folder / "weights.pt")
                return
            if args.lose:
                number = signal.SIGKILL if args.lose == "kill" else signal.SIGSTOP
                lose_this_process(args.folder / "position.pt", number)
            serve(processes)
    except LostProcessError as error:
        print(explain(error), file=sys.stderr, flush=True)
        sys.exit(exit_code_of(error))


if __name__ == "__main__":
    main()
