"""Drop channels that are zero, or that nobody reads, with the filters that make them.

    Conv(W) -> ... -> Conv(V)    =>    Conv(W without filters) -> ... -> Conv(V without those input channels)

A channel goes if no consumer has a weight for it, or if all of its producers' filters are zero with no bias and every
operator on the way makes zero of zero. Both are exact. One channel stays. What goes in one class may leave nobody to
read a channel of an earlier one, so this is repeated until nothing changes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx

from .channel_classes import ChannelClass, ConvWeights, find_channel_classes

__all__ = ["drop_channels"]


def drop_channels(model: onnx.ModelProto) -> int:
    """Rewrite in place; returns how many convolutions changed."""
    classes, weights = find_channel_classes(model), ConvWeights(model)
    while any(_drop(channel_class, weights) for channel_class in reversed(classes)):
        pass
    return weights.write()


def _drop(channel_class: ChannelClass, weights: ConvWeights) -> bool:
    kept = _needed(channel_class, weights)
    if kept.all():
        return False
    if not kept.any():
        if kept.size == 1:
            return False
        kept[0] = True
    channels = np.flatnonzero(kept)
    for node in (*channel_class.producers, *channel_class.depthwise):
        weights.take(node, channels, axis=0)
    for node in channel_class.consumers:
        weights.take(node, channels, axis=1)
    return True


def _needed(channel_class: ChannelClass, weights: ConvWeights) -> npt.NDArray[np.bool_]:
    """Channels that are read, and that may be other than zero."""
    read = np.any([(weights.weight(node) != 0).any(axis=(0, 2, 3)) for node in channel_class.consumers], axis=0)
    if not channel_class.keeps_zero:
        return np.asarray(read)
    made = np.any([_nonzero_filters(node, weights) for node in channel_class.producers], axis=0)
    return np.asarray(read & made)


def _nonzero_filters(node: int, weights: ConvWeights) -> npt.NDArray[np.bool_]:
    nonzero, bias = (weights.weight(node) != 0).any(axis=(1, 2, 3)), weights.bias(node)
    return np.asarray(nonzero if bias is None else nonzero | (bias != 0))
