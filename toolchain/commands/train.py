"""`act train`: train a dense network and write its weights."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config_file import resolve
from ..errors import ExitCode, UsageError
from ..progress import Progress
from .compress import add_network_arguments, flags_of
from .together import together

if TYPE_CHECKING:
    from ..distributed import Processes

NAME = "train"
HELP = "train a dense network and write its weights"

EXAMPLES = """example:
  act train resnet20 --data cifar10:DIR --epochs 60 --out resnet20.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EXAMPLES
    add_network_arguments(parser)
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the train part; default by --effort")
    parser.add_argument("--learning-rate", type=float, metavar="R", help="peak learning rate; default 0.1")
    parser.add_argument("--effort", choices=("quick", "normal", "thorough"), help="default normal")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with any setting; flags win over it")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of everything random; default 0")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="safetensors file to write")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training of the same --out")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Train, judge on the test part, write the weights."""
    return together(lambda processes: _run(args, progress, processes))


def _run(args: argparse.Namespace, progress: Progress, processes: "Processes") -> int:
    flags = flags_of(args)
    train_flags = {"dense_epochs": args.epochs, "dense_learning_rate": args.learning_rate}
    flags["train"] = {key: value for key, value in train_flags.items() if value is not None}
    config = resolve(args.effort, args.config, flags)
    checkpoint = args.out.with_name(args.out.name + ".partial")
    if args.out.exists():
        raise UsageError(f"{args.out} exists: choose another file with --out")
    if checkpoint.exists() and not args.resume:
        raise UsageError(f"{checkpoint} holds an interrupted training: continue it with --resume, or remove it")

    from ...models.weights import preprocessing_metadata
    from ..batches import Batches
    from ..evaluation import evaluate
    from ..hardware import compute_device, training_precision
    from ..loading import preprocessing_with_classes, save_network
    from ..pipeline import fit_size, load_source, load_splits
    from ..recipe import Recipe, resolve_batch_parts
    from ..training import train

    data = load_splits(config)
    loaded = load_source(config, data, allow_code=args.model is not None)
    data = fit_size(config, data, loaded)
    progress.note(data.describe())
    device = compute_device()
    _, h, w = loaded.network.input_shape
    recipe = Recipe(
        epochs=config.train.dense_epochs,
        learning_rate=config.train.dense_learning_rate,
        batch_size=config.train.batch_size,
        weight_decay=config.train.weight_decay,
        precision=training_precision(config.train.precision, device, h * w),
        warmup_share=0.1,
        label_smoothing=config.train.label_smoothing,
        ema_decay=config.train.ema_decay,
        compile=config.train.compile,
        batch_parts=resolve_batch_parts(
            config.train.batch_parts, batch_size=config.train.batch_size, processes=processes.size
        ),
        seed=config.seed,
    )
    batches = Batches(data.train, loaded.preprocessing, device)
    with progress.stage("train", total=recipe.epochs, unit="epochs") as bar:
        summary = train(
            loaded.network.module,
            batches,
            data.augmentation,
            recipe,
            device=device,
            checkpoint=checkpoint,
            on_epoch=lambda epoch, loss: bar.advance(1, f"loss {loss:.3f}"),
            warn=progress.warn,
            processes=processes,
        )
    tested = evaluate(loaded.network.module, Batches(data.test, loaded.preprocessing, device))
    network = replace(loaded.network, module=loaded.network.module.cpu())
    record = preprocessing_with_classes(loaded.preprocessing, data.class_names)
    save_network(args.out, network, preprocessing_metadata(record))
    checkpoint.unlink(missing_ok=True)
    result = {
        "accuracy_top1": tested.accuracy_top1,
        "images": tested.images,
        "epochs": recipe.epochs,
        "seconds": summary.seconds,
        "weights": str(args.out),
    }
    if args.json:
        print(json.dumps(result))
    else:
        print(f"test accuracy {tested.accuracy_top1:.2f} % ({tested.images} images) after {recipe.epochs} epochs")
        print(f"weights  {args.out}")
        print(f"next     act compress {config.network.model} --weights {args.out} --data {config.data.spec}")
    return ExitCode.OK
