"""The same network in its three forms, as something that takes images and gives logits.

A `Classifier` is a captured network in torch, an ONNX file in plain onnxruntime, or a package on a device. Each brings
the preprocessing that travels with it, so that one loop judges all of them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..compiler.errors import OnnxInputError
from ..device.package_format import read_package
from ..models.image_set import ImageSet
from ..models.prefetch import prefetched
from ..models.preprocessing import Preprocessing
from .errors import UsageError

if TYPE_CHECKING:
    from ..device.devices import Device
    from .capture import CapturedNetwork

PREPROCESSING_KEY = "act.preprocessing"
FloatArray = NDArray[np.float32]


class Classifier(Protocol):
    """Takes `(n, c, h, w)` float32 images, gives `(n, classes)` float32 logits."""

    preprocessing: Preprocessing | None

    def __call__(self, images: FloatArray) -> FloatArray:
        """Return the logits of a batch."""


class NetworkClassifier:
    """A captured network in torch, in fp32."""

    def __init__(self, network: "CapturedNetwork", preprocessing: Preprocessing | None) -> None:
        from .hardware import compute_device

        self.preprocessing = preprocessing
        self._place = compute_device()
        self._module = network.module.to(self._place).eval()

    def __call__(self, images: FloatArray) -> FloatArray:
        """Return the logits of a batch."""
        import torch

        with torch.inference_mode():
            logits = self._module(torch.from_numpy(images).to(self._place))
        return np.asarray(logits.float().cpu().numpy(), dtype=np.float32)


class OnnxClassifier:
    """An ONNX file in plain onnxruntime on the CPU.

    Raises:
        OnnxInputError: If the file is missing, not ONNX, invalid, reaches outside its folder, or has several inputs.
    """

    def __init__(self, path: Path) -> None:
        model = parse_onnx(path)
        self.preprocessing = _record_of(model, path)
        self._session = _session(model, path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            count = f"{len(inputs)} inputs and {len(outputs)} outputs"
            raise OnnxInputError(f"{path} has {count}; networks with one of each can be judged")
        self._path, self._name, self._shape = path, inputs[0].name, list(inputs[0].shape)
        if inputs[0].type != "tensor(float)" or len(self._shape) != 4:
            raise OnnxInputError(
                f"{path}: input {self._name!r} is {inputs[0].type} of shape {self._shape}; float (n, c, h, w) is wanted"
            )

    def __call__(self, images: FloatArray) -> FloatArray:
        """Return the logits of a batch; a file with a fixed batch is run in parts of that size."""
        for wanted, size, name in zip(self._shape[1:], images.shape[1:], ("channels", "height", "width"), strict=True):
            if isinstance(wanted, int) and wanted != size:
                raise OnnxInputError(f"{self._path} takes images of {name} {wanted}, but these have {size}")
        fixed = self._shape[0] if isinstance(self._shape[0], int) else None
        return in_parts(images, fixed, lambda part: np.asarray(self._session.run(None, {self._name: part})[0]))


class PackageClassifier:
    """A package on a device.

    Raises:
        PackageError: If the package is missing, cut short or altered.
    """

    def __init__(self, path: Path, device: "Device") -> None:
        package = read_package(path)
        self.preprocessing = None if package.preprocessing is None else Preprocessing.from_dict(package.preprocessing)
        self._path, self._shape = path, package.input_shape
        self._device = device

    def __call__(self, images: FloatArray) -> FloatArray:
        """Return the logits of a batch; parts of the package's batch size are run one after another."""
        from ..device.harness import run_inputs

        if images.shape[1:] != tuple(self._shape[1:]):
            raise UsageError(f"{self._path} takes images of {self._shape[1:]}, but these are {images.shape[1:]}")
        return np.asarray(run_inputs(self._path, self._device, images), dtype=np.float32)


def judge(
    classifier: Classifier, images: ImageSet, preprocessing: Preprocessing, *, classes: int, batch_size: int
) -> int:
    """Count the images whose largest logit is at their label.

    Args:
        classifier: What to judge.
        images: uint8 images with labels; image files are decoded ahead of their use.
        preprocessing: Used where the classifier brings none.
        classes: Classes of the data; the network must have as many outputs.
        batch_size: Images at a time.

    Raises:
        UsageError: If the number of outputs is not `classes`.
        PreprocessingError: If the images do not fit the network.
    """
    record = classifier.preprocessing or preprocessing
    correct = 0
    parts = [slice(start, start + batch_size) for start in range(0, len(images), batch_size)]
    for part, pixels in zip(parts, prefetched(lambda part: images.images[part], parts), strict=True):
        logits = classifier(record.apply(pixels))
        if logits.ndim != 2 or logits.shape[1] != classes:
            raise UsageError(f"the network has outputs of shape {logits.shape[1:]}, but the data has {classes} classes")
        correct += int((logits.argmax(axis=1) == images.labels[part]).sum())
    return correct


def parse_onnx(path: Path) -> Any:  # noqa: ANN401 - onnx.ModelProto, whose package has no types for mypy
    """Read an ONNX file and its external data, which must lie in the file's own folder.

    Raises:
        OnnxInputError: If the file is missing, not ONNX, cut short, or reaches outside its folder.
    """
    import onnx

    from ..compiler.passes.external_data import load_external_data

    try:
        data = path.read_bytes()
    except OSError as error:
        raise OnnxInputError(f"cannot read {path}: {error.strerror or error}") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError has a different base in each implementation
        raise OnnxInputError(f"{path} is not an ONNX file, or it is cut short ({len(data)} bytes)") from error
    if not model.graph.node:
        raise OnnxInputError(f"{path} is not an ONNX model, or it is cut short: it has no nodes")
    load_external_data(model, path.parent)
    return model


def in_parts(images: FloatArray, size: int | None, run: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Apply `run` to parts of exactly `size` images, the last one padded; to all at once where `size` is None."""
    if size is None:
        return np.asarray(run(images), dtype=np.float32)
    outputs = []
    for start in range(0, len(images), size):
        part = images[start : start + size]
        missing = size - len(part)
        padded = np.concatenate([part, np.zeros((missing, *part.shape[1:]), np.float32)]) if missing else part
        outputs.append(np.asarray(run(padded), dtype=np.float32)[: len(part)])
    return np.concatenate(outputs)


def _session(model: Any, path: Path) -> Any:  # noqa: ANN401
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own types, all of them about the model
        first_line = str(error).strip().splitlines()[0]
        raise OnnxInputError(f"onnxruntime refuses {path}: {first_line}") from error


def _record_of(model: Any, path: Path) -> Preprocessing | None:  # noqa: ANN401
    text = {entry.key: entry.value for entry in model.metadata_props}.get(PREPROCESSING_KEY)
    if text is None:
        return None
    try:
        return Preprocessing.from_dict(json.loads(text))
    except json.JSONDecodeError as error:
        raise OnnxInputError(f"{path}: metadata {PREPROCESSING_KEY!r} is not JSON: {error}") from None
