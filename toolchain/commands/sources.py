"""What a command's first argument means: a network's name, a run folder, an ONNX file, or a package."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import UsageError
from .arguments import arguments_of

if TYPE_CHECKING:
    from ...device.devices import Device
    from ...models.data import DataSplits
    from ...models.preprocessing import Preprocessing
    from ...models.registry import ModelSpec
    from ..capture import CapturedNetwork

Kind = Literal["network", "run", "onnx", "package"]
_SUFFIXES: dict[str, Kind] = {".onnx": "onnx", ".actpkg": "package"}
_RUN_FILES = ("config.toml", "pruning_plan.json", "report.json")
_SMALL_NETWORKS = ("resnet20", "resnet32", "resnet44", "resnet56")


@dataclass(frozen=True, kw_only=True)
class OpenedNetwork:
    """A network that a command works on; `preprocessing` is None where nothing says what its weights expect."""

    network: "CapturedNetwork"
    spec: "ModelSpec"
    preprocessing: "Preprocessing | None"


def kind_of(source: str) -> Kind:
    """Tell what `source` is.

    Raises:
        UsageError: If it is a path that does not exist or cannot be used.
    """
    path = Path(source)
    if path.suffix in _SUFFIXES:
        if not path.is_file():
            raise UsageError(f"there is no file {source}")
        return _SUFFIXES[path.suffix]
    if path.is_dir() and (os.sep in source or any((path / name).exists() for name in _RUN_FILES)):
        return "run"
    if ":" in source and not path.exists():
        return "network"
    if path.is_file() or os.sep in source:
        what = "cannot be used" if path.exists() else "does not exist"
        raise UsageError(
            f"{source} {what}: give a network (see 'act models'), a run folder, or a file .onnx or .actpkg; "
            "weights are given with --weights"
        )
    return "network"


def open_network(args: argparse.Namespace, data: "DataSplits | None") -> OpenedNetwork:
    """Open the network that `args.source` names, or the compact network of a run.

    Args:
        args: With `source` and the flags of `add_network`.
        data: Gives size and classes, where the command has data.

    Raises:
        UsageError: If the source is no network, or its size is not known.
    """
    from ..loading import load_network, load_run

    if kind_of(args.source) == "run":
        run = load_run(Path(args.source), model_from_flag=args.model)
        return OpenedNetwork(network=run.network, spec=run.spec, preprocessing=run.preprocessing)
    known, fallback, classes = _expected_input(args, data)
    loaded = load_network(
        args.source,
        weights=args.weights,
        preprocessing=fallback,
        num_classes=classes,
        image_shape=fallback.input_shape if data is None else data.image_shape,
        arguments=arguments_of(args.arguments),
        allow_code=True,
    )
    return OpenedNetwork(
        network=loaded.network, spec=loaded.spec, preprocessing=loaded.preprocessing if known else None
    )


def open_named(name: str) -> OpenedNetwork:
    """Open a registered network with random weights, at its usual size."""
    nothing = argparse.Namespace(source=name, weights=None, arguments=[], input_shape=None, classes=None, model=None)
    return open_network(nothing, None)


def onnx_of(source: str) -> Path:
    """Return the ONNX file that `source` is, or that the run holds.

    Raises:
        UsageError: If it is something else.
    """
    kind = kind_of(source)
    if kind == "onnx":
        return Path(source)
    if kind == "run" and (Path(source) / "model.onnx").is_file():
        return Path(source) / "model.onnx"
    if kind == "network":
        raise UsageError(f"{source} is a network: write it as ONNX first, with act export {source} --out FILE.onnx")
    raise UsageError(f"{source} holds no ONNX file: give a file.onnx, or the folder of a finished run")


def choose_device(device_id: str | None, package: Path) -> "Device":
    """Open a device by its id, or the first local one that runs packages like this one.

    Raises:
        DeviceError: If there is none.
        PackageError: If the package cannot be read.
    """
    from ...device.devices import open_device
    from ...device.package_format import read_package

    return open_device(device_id) if device_id is not None else first_local_device(read_package(package).backend)


def first_local_device(backend: str) -> "Device":
    """Open the first local device that runs packages of a backend.

    Raises:
        DeviceError: If there is none.
    """
    from ...device.devices import DeviceError, open_device
    from ...device.local import list_local_devices

    local = list_local_devices(backend)
    if not local:
        raise DeviceError(f"there is no local device for {backend} packages; see 'act doctor' for what to install")
    return open_device(local[0].id)


def _expected_input(args: argparse.Namespace, data: "DataSplits | None") -> tuple[bool, "Preprocessing", int]:
    """Whether the preprocessing is really known, the record to start from, and the number of classes."""
    from ...models.weights import load_weights

    if data is not None:
        return True, data.preprocessing, args.classes or data.num_classes
    weights = None if args.weights is None else load_weights(args.weights)
    record = None if weights is None else weights.preprocessing
    if record is not None and args.input_shape in (None, record.input_shape):
        return True, record, args.classes or len(record.class_names) or _usual_input(args.source)[1]
    shape, classes = _usual_input(args.source) if args.input_shape is None else (args.input_shape, 0)
    noted = weights is not None and weights.normalization is not None
    return noted, _plain_record(shape), args.classes or classes or _usual_input(args.source, shape)[1]


def _usual_input(name: str, shape: tuple[int, int, int] | None = None) -> tuple[tuple[int, int, int], int]:
    """Image size and number of classes that a network usually has; of `shape`, where that is given."""
    if shape is not None:
        return shape, 10 if min(shape[1:]) <= 64 else 1000
    if name == "lenet5":
        return (1, 28, 28), 10
    if name in _SMALL_NETWORKS:
        return (3, 32, 32), 10
    if ":" in name:
        raise UsageError(f"give the image size of {name} with --input-shape, as in --input-shape 3,32,32")
    side = _usual_side(name)
    return (3, side, side), 1000


def _usual_side(name: str) -> int:
    """Height and width that a network for large images is usually run at."""
    from ...models.registry import list_models
    from ...models.torchvision_networks import usual_side

    return 224 if name in list_models() else usual_side(name)


def _plain_record(shape: tuple[int, int, int]) -> "Preprocessing":
    from ...models.preprocessing import Preprocessing

    channels, height, width = shape
    if channels not in (1, 3):
        raise UsageError(f"images have 1 or 3 channels, but --input-shape says {channels}")
    order: Literal["RGB", "GRAY"] = "RGB" if channels == 3 else "GRAY"
    return Preprocessing(height=height, width=width, channel_order=order, mean=(0.0,) * channels, std=(1.0,) * channels)
