"""The record that says how images become a network's input; it travels with the network.

``input = (resize(image) * scale - mean) / std``, per channel, NCHW. The same record is in plan, ONNX metadata,
package and report. No cropping: an image is resized to ``(height, width)`` as a whole, or must have that size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from .naming import unknown_name

Resize = Literal["none", "bilinear"]
ChannelOrder = Literal["RGB", "BGR", "GRAY"]
_CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1}
_RESIZES = ("none", "bilinear")
_LARGEST_SIDE = 16384
_LARGEST_NUMBER = 1e30  # fits in float32
_CHUNK = 1024


class PreprocessingError(ValueError):
    """A preprocessing record that is not valid, or images that do not fit it."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How uint8 images become a network's float input.

    Attributes:
        height: Input height in pixels.
        width: Input width in pixels.
        resize: ``"none"``: images have that size; ``"bilinear"``: they are resized (half-pixel centres, averaging
            where they shrink).
        channel_order: Order of the network's input channels; images themselves are RGB or gray.
        scale: Factor on the raw values, 1/255 for bytes.
        mean: Per input channel, subtracted after scaling.
        std: Per input channel, positive.
        class_names: Names of the outputs; empty where unknown.

    Raises:
        PreprocessingError: On creation, if a value is of the wrong type or out of range.
    """

    height: int
    width: int
    resize: Resize = "none"
    channel_order: ChannelOrder = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in ("height", "width"):
            size = getattr(self, key)
            if not _is_whole(size) or not 1 <= size <= _LARGEST_SIDE:
                raise PreprocessingError(f"{key} must be a whole number in 1..{_LARGEST_SIDE}, but is {size!r}")
        if self.resize not in _RESIZES:
            raise PreprocessingError(unknown_name("resize", str(self.resize), _RESIZES))
        if self.channel_order not in _CHANNELS:
            raise PreprocessingError(unknown_name("channel order", str(self.channel_order), _CHANNELS))
        if not _is_number(self.scale) or self.scale <= 0:
            raise PreprocessingError(f"scale must be a positive number, but is {self.scale!r}")
        for key in ("mean", "std"):
            self._check_per_channel(key, getattr(self, key))
        if any(value <= 0 for value in self.std):
            raise PreprocessingError(f"std must be positive in every channel, but is {self.std!r}")
        names = self.class_names
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise PreprocessingError(f"class_names must be strings, but are {names!r}")

    def _check_per_channel(self, key: str, values: object) -> None:
        if not isinstance(values, tuple) or not all(_is_number(value) for value in values):
            raise PreprocessingError(f"{key} must be finite numbers, but is {values!r}")
        if len(values) != self.channels:
            raise PreprocessingError(
                f"{key} must have {self.channels} values for {self.channel_order}, but has {len(values)}"
            )

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return _CHANNELS[self.channel_order]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """``(c, height, width)`` of the network's input."""
        return self.channels, self.height, self.width

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn images into network input.

        Args:
            images: ``(n, h, w, c)`` uint8, RGB or gray.

        Returns:
            ``(n, c, height, width)`` float32, contiguous.

        Raises:
            PreprocessingError: If dtype, channels or size do not fit the record.
        """
        self._check_images(images)
        out = np.empty((len(images), *self.input_shape), np.float32)
        mean = np.asarray(self.mean, np.float32)
        std = np.asarray(self.std, np.float32)
        for start in range(0, len(images), _CHUNK):
            values = images[start : start + _CHUNK].astype(np.float32)
            if values.shape[1:3] != (self.height, self.width):
                values = resize_bilinear(values, self.height, self.width)
            if self.channel_order == "BGR":
                values = values[..., ::-1]
            values = (values * np.float32(self.scale) - mean) / std
            out[start : start + _CHUNK] = values.transpose(0, 3, 1, 2)
        return out

    def _check_images(self, images: NDArray[np.uint8]) -> None:
        if images.dtype != np.uint8 or images.ndim != 4:
            raise PreprocessingError(
                f"images must be uint8 of shape (n, h, w, c), but are {images.dtype} of shape {images.shape}"
            )
        height, width, channels = images.shape[1:]
        if channels != self.channels:
            raise PreprocessingError(
                f"the network takes {self.channels} channels ({self.channel_order}), but the images have {channels}"
            )
        if self.resize == "none" and (height, width) != (self.height, self.width):
            raise PreprocessingError(
                f"the network takes images of {self.height}×{self.width} pixels, but these have {height}×{width}, and "
                "its preprocessing record does not resize: give images of that size"
            )
        if min(height, width) < 1:
            raise PreprocessingError(f"images have no pixels: {height}×{width}")

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON types."""
        record = dataclasses.asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in record.items()}

    @classmethod
    def from_dict(cls, record: object) -> Preprocessing:
        """Read what :meth:`to_dict` wrote.

        Raises:
            PreprocessingError: If a key is missing or unknown, or a value is not valid.
        """
        if not isinstance(record, Mapping):
            raise PreprocessingError(f"a preprocessing record must be an object, but is {record!r}")
        known = [entry.name for entry in dataclasses.fields(cls)]
        for key in record:
            if key not in known:
                raise PreprocessingError(unknown_name("preprocessing key", str(key), known))
        missing = [key for key in known if key not in record]
        if missing:
            raise PreprocessingError(f"a preprocessing record needs {', '.join(missing)}")
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
        return cls(**cast("dict[str, Any]", values))


def resize_bilinear(images: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Resize with a triangle filter, widened where the image shrinks; edges are renormalised.

    Args:
        images: ``(n, h, w, c)``.
        height: Wanted height in pixels.
        width: Wanted width in pixels.

    Returns:
        ``(n, height, width, c)``; what ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)`` computes.
    """
    rows = _triangle_filter(images.shape[1], height)
    columns = _triangle_filter(images.shape[2], width)
    resized = np.einsum("ih,nhwc->niwc", rows, images, optimize=True)
    out: NDArray[np.float32] = np.einsum("jw,niwc->nijc", columns, resized, optimize=True).astype(np.float32)
    return out


def _triangle_filter(size: int, wanted: int) -> NDArray[np.float32]:
    """Matrix ``(wanted, size)`` whose rows sum to 1."""
    step = size / wanted
    support = max(step, 1.0)
    centres = (np.arange(wanted) + 0.5) * step  # in pixels of the original, whose pixel i is centred at i + 0.5
    distances = np.abs(np.arange(size)[None, :] + 0.5 - centres[:, None])
    weights = np.maximum(0.0, 1.0 - distances / support)
    rows: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return rows


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST_NUMBER
