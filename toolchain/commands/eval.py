"""`act eval`: accuracy of a network, a run, an ONNX file or a package, each with its own preprocessing."""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..output import print_fields, print_json
from ..progress import Progress
from .arguments import add_data, add_json, add_network, examples, positive
from .sources import Kind, choose_device, kind_of, open_network

if TYPE_CHECKING:
    from ...models.data import DataSplits, ImageSet
    from ..classifiers import Classifier

NAME = "eval"
HELP = "judge a network, a run, an ONNX file or a package"
_MOST_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class _DataChoice:
    spec: str
    seed: int
    download: bool
    image_size: int | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("source", metavar="SOURCE", help="network, run folder, file.onnx or file.actpkg")
    add_data(parser)
    parser.add_argument("--part", choices=("test", "search"), default="test", help="part of the data (default: test)")
    parser.add_argument("--limit", type=positive, metavar="N", help="judge the first N images only")
    parser.add_argument(
        "--batch", type=positive, metavar="N", help=f"images at a time (default: up to {_MOST_AT_ONCE})"
    )
    parser.add_argument("--device", metavar="ID", help="device that runs a package (default: the first local one)")
    add_network(parser)
    add_json(parser)
    parser.epilog = examples(
        "act eval resnet20 --weights resnet20.safetensors --data cifar10:data/cifar10",
        "act eval runs/digits-resnet20",
        "act eval runs/digits-resnet20/model.actpkg --data digits --device opencl:0",
    )


def run(args: argparse.Namespace, progress: Progress) -> int:
    """Judge and print the accuracy."""
    from ...models.data import load_data
    from ...models.image_set import judged_at_once
    from ..classifiers import judge

    kind = kind_of(args.source)
    choice = _choose_data(args, kind)
    data = load_data(choice.spec, seed=choice.seed, download=choice.download, image_size=choice.image_size)
    classifier = _open(args, kind, data)
    record = classifier.preprocessing
    if record is None:
        progress.warn(f"{args.source} carries no preprocessing record; that of the data is used")
    elif choice.image_size is None and record.height == record.width:
        data = data.resized(record.height)
    whole = data.test if args.part == "test" else data.search
    images = whole if args.limit is None else _first(whole, args.limit)
    batch = args.batch or judged_at_once(_MOST_AT_ONCE, *data.image_shape[1:])
    began = time.perf_counter()
    with progress.stage(f"judge {len(images):,} {args.part} images"):
        correct = judge(classifier, images, data.preprocessing, classes=data.num_classes, batch_size=batch)
    seconds = time.perf_counter() - began
    result = {
        "source": args.source,
        "kind": kind,
        "accuracy_top1": 100 * correct / len(images),
        "images": len(images),
        "correct": correct,
        "data": data.name,
        "part": args.part,
        "seed": data.seed,
        "seconds": seconds,
    }
    if args.json:
        print_json(result)
    else:
        _print(result)
    return 0


def _print(result: dict[str, object]) -> None:
    fields = [
        ("accuracy", f"{result['accuracy_top1']:.2f} % (top 1)"),
        ("images", f"{result['correct']:,} of {result['images']:,} right, {result['part']} part of {result['data']}"),
        ("seconds", f"{result['seconds']:.1f}"),
    ]
    print_fields(fields)


def _first(images: "ImageSet", limit: int) -> "ImageSet":
    import numpy as np

    return images.subset(np.arange(min(limit, len(images))))


def _open(args: argparse.Namespace, kind: Kind, data: "DataSplits") -> "Classifier":
    from ..classifiers import NetworkClassifier, OnnxClassifier, PackageClassifier

    if kind == "onnx":
        return OnnxClassifier(Path(args.source))
    if kind == "package":
        return PackageClassifier(Path(args.source), choose_device(args.device, Path(args.source)))
    opened = open_network(args, data)
    return NetworkClassifier(opened.network, opened.preprocessing)


def _choose_data(args: argparse.Namespace, kind: Kind) -> _DataChoice:
    """The data of the flags; a run's own data and seed, where the flags say nothing."""
    if args.data is None and kind == "run":
        from ..config_file import load_resolved

        config = load_resolved(Path(args.source) / "config.toml", model_from_flag=args.model)
        seed = config.seed if args.seed is None else args.seed
        return _DataChoice(
            spec=config.data.spec,
            seed=seed,
            download=args.download or config.data.download,
            image_size=args.image_size or config.data.image_size,
        )
    if args.data is None:
        raise UsageError("say what to judge it on: --data digits, cifar10:DIR, npz:FILE or images:DIR")
    return _DataChoice(spec=args.data, seed=args.seed or 0, download=args.download, image_size=args.image_size)
