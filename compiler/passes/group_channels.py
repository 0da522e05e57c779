"""Renumber channels so that kept columns of their consumers form whole blocks of four; producers' filters follow.

    Conv(W) -> ... -> Conv(V)    =>    Conv(W, filters permuted) -> ... -> Conv(V, input channels permuted)

Which columns a layer keeps is any pattern over channels and kernel positions. Channels with like patterns are made
neighbours, four by four: the first of a group is the one with the most columns left, each further one shares the most
positions with the group and adds the fewest. The permutation costs nothing where the network runs. It is dropped where
it does not make the blocks fewer (`column_blocks.find_blocks`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx

from ..column_blocks import find_blocks
from ..layer_shape import BLOCK_CHANNELS
from ..zero_columns import kept_columns
from .channel_classes import ChannelClass, ConvWeights, find_channel_classes

__all__ = ["group_channels"]


def group_channels(model: onnx.ModelProto) -> int:
    """Rewrite in place; returns how many convolutions changed."""
    weights = ConvWeights(model)
    for channel_class in find_channel_classes(model):
        pruned = [node for node in channel_class.consumers if _is_pruned(weights.weight(node))]
        if pruned and weights.weight(pruned[0]).shape[1] > BLOCK_CHANNELS:
            _group(channel_class, pruned, weights)
    return weights.write()


def _group(channel_class: ChannelClass, pruned: list[int], weights: ConvWeights) -> None:
    patterns = np.concatenate([_patterns(weights.weight(node)) for node in pruned], axis=1)
    order = _grouped(patterns)
    before, after = (
        sum(_block_work(np.take(weights.weight(node), channels, axis=1)) for node in pruned)
        for channels in (np.arange(order.size), order)
    )
    if after >= before:
        return
    for node in (*channel_class.producers, *channel_class.depthwise):
        weights.take(node, order, axis=0)
    for node in channel_class.consumers:
        weights.take(node, order, axis=1)


def _grouped(patterns: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Order of the channels, ``patterns`` being ``(channels, positions)``."""
    counts, bits = patterns.sum(axis=1), patterns.astype(np.int32)
    left, order = np.ones(len(patterns), bool), []
    while left.any():
        # Groups begin with the fullest channel; what has no column left comes last.
        chosen = int(np.argmax(np.where(left, counts, -1)))
        union = patterns[chosen].copy()
        order.append(chosen)
        left[chosen] = False
        for _ in range(min(BLOCK_CHANNELS - 1, int(left.sum()))):
            shared = bits @ union.astype(np.int32)
            chosen = int(np.argmax(np.where(left, 2 * shared - counts, np.iinfo(np.int32).min)))
            union |= patterns[chosen]
            order.append(chosen)
            left[chosen] = False
    return np.array(order, np.int64)


def _patterns(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Whether each input channel has a weight at each kernel position."""
    return np.asarray((weight != 0).any(axis=0).reshape(weight.shape[1], -1))


def _is_pruned(weight: npt.NDArray[np.float32]) -> bool:
    return not _patterns(weight).all()


def _block_work(weight: npt.NDArray[np.float32]) -> int:
    """Weights that a kernel over blocks would read."""
    columns = kept_columns(weight)
    if not columns.size:
        return 0
    blocks = find_blocks(columns, weight.shape[1], weight[0, 0].size)
    return int(weight.shape[0]) * BLOCK_CHANNELS * blocks.size
