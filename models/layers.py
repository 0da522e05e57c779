"""Layers that networks have only after (or because of) pruning.

* :class:`ColumnConv2d`: a convolution whose GEMM weight matrix lost columns; only the kept ones are stored.
* :class:`ChannelPad`: zero channels around a value, the shortcut of a CIFAR ResNet (option A).
* :class:`ChannelPermutation`: channels in another order, which is what ShuffleNet's shuffle comes to.

A *column* is one ``(c_in, ky, kx)`` position over all filters: entry ``(c * kh + ky) * kw + kx`` of a flattened filter.
The layers are ordinary modules: they train, and they compute what the dense layer with zeros computes. How a phone
skips the zeros is the compiler's business.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ColumnConv2d(nn.Module):
    """Convolution with a packed weight: all filters share the same kept GEMM columns.

    Attributes:
        weight: Parameter ``(out_channels, K)``; ``K`` is the number of kept columns.
        bias: Parameter ``(out_channels,)`` or ``None``.
        columns: Buffer ``(K,)``, int32, sorted indices into ``in_channels * kh * kw``; saved with the weights.

    Args:
        in_channels: Channels of the input.
        out_channels: Filters.
        kernel_size: ``(kh, kw)``.
        columns: Kept columns, sorted, without repetition, any integer dtype, at least one.
        stride: ``(sy, sx)``.
        padding: ``(py, px)``, zeros on both sides.
        dilation: ``(dy, dx)``.
        bias: Whether there is a bias.

    Raises:
        ValueError: If ``columns`` is empty, unsorted, repeated or out of range.

    Source: column pruning as in AutoCompress, arXiv:1907.03141, section 3.
    """

    columns: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        columns: Tensor,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = 1
        problem = columns_problem(columns, self.dense_columns)
        if problem is not None:
            raise ValueError(f"columns of a ColumnConv2d: {problem}")
        self.register_buffer("columns", columns.detach().to(torch.int32).clone())
        self.weight = nn.Parameter(torch.empty(out_channels, columns.numel()))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    @property
    def dense_columns(self) -> int:
        """Columns of the dense layer, ``in_channels * kh * kw``."""
        return self.in_channels * self.kernel_size[0] * self.kernel_size[1]

    def reset_parameters(self) -> None:
        """Draw weights as ``nn.Conv2d`` does, for the fan-in that is left."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight.shape[1])
            nn.init.uniform_(self.bias, -bound, bound)

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, columns: Tensor) -> ColumnConv2d:
        """Pack a dense convolution; its other columns are dropped.

        Args:
            conv: Convolution with ``groups == 1``, zero padding given as numbers.
            columns: Kept columns, sorted, ``(K,)``.

        Returns:
            New layer with copied weights, on the device and of the dtype of ``conv``.

        Raises:
            ValueError: If the convolution is grouped or padded otherwise, or ``columns`` is not valid.
        """
        if conv.groups != 1:
            raise ValueError(f"a ColumnConv2d has groups = 1, but the convolution has groups = {conv.groups}")
        if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
            raise ValueError(
                f"a ColumnConv2d pads with zeros by numbers, but got {conv.padding!r}, {conv.padding_mode}"
            )
        layer = cls(
            conv.in_channels,
            conv.out_channels,
            _pair(conv.kernel_size),
            columns,
            stride=_pair(conv.stride),
            padding=_pair(conv.padding),
            dilation=_pair(conv.dilation),
            bias=conv.bias is not None,
        ).to(device=conv.weight.device, dtype=conv.weight.dtype)
        with torch.no_grad():
            layer.weight.copy_(conv.weight.flatten(1).index_select(1, layer.columns))
            if layer.bias is not None and conv.bias is not None:
                layer.bias.copy_(conv.bias)
        return layer.train(conv.training)

    def dense_weight(self) -> Tensor:
        """Scatter the packed weight into zeros; differentiable.

        Returns:
            ``(out_channels, in_channels, kh, kw)``, dtype and device of ``weight``.
        """
        zeros = self.weight.new_zeros(self.out_channels, self.dense_columns)
        dense = zeros.index_copy(1, self.columns.long(), self.weight)
        return dense.view(self.out_channels, self.in_channels, *self.kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(n, in_channels, h, w)`` to ``(n, out_channels, h', w')``."""
        # conv2d casts under autocast; the scatter stays in the parameter's own dtype, as for a dense layer.
        return F.conv2d(x, self.dense_weight(), self.bias, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        """Sizes, as ``nn.Conv2d`` prints them, with the kept columns."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, columns={self.columns.numel()}/{self.dense_columns}, "
            f"bias={self.bias is not None}"
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:  # noqa: ANN401
        # Loaded indices come from a file: a bad one must be refused here, not read out of bounds in a kernel.
        key = f"{prefix}columns"
        columns = state_dict.get(key)
        problem = columns_problem(columns, self.dense_columns) if isinstance(columns, Tensor) else None
        super()._load_from_state_dict(state_dict, prefix, *args)
        if problem is not None:
            error_messages: list[str] = args[-1]
            error_messages.append(f"{key}: {problem}")


class ChannelPad(nn.Module):
    """Put ``before`` and ``after`` zero channels around the channels of ``(n, c, h, w)``.

    Both counts are plain attributes: compaction edits them when channels of the padded value go.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.before = before
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        """Pad ``(n, c, h, w)`` to ``(n, before + c + after, h, w)``."""
        return F.pad(x, (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        """Both counts."""
        return f"before={self.before}, after={self.after}"


class ChannelPermutation(nn.Module):
    """Put the channels of ``(n, c, h, w)`` in another order.

    Attributes:
        order: ``(c,)`` int64: channel ``i`` of the result is channel ``order[i]`` of the input. A plain buffer that no
            file of weights holds: it belongs to the graph, and compaction edits it.
    """

    order: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order.long(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Permute the channels."""
        return x.index_select(1, self.order)

    def extra_repr(self) -> str:
        """Number of channels."""
        return f"{self.order.numel()}"


def columns_problem(columns: Tensor, limit: int) -> str | None:
    """Say what is wrong with column indices.

    Args:
        columns: Indices, ``(K,)``.
        limit: Columns of the dense layer.

    Returns:
        ``None`` if they are integers, sorted, without repetition and within ``0..limit-1``; otherwise the reason.
    """
    if columns.is_floating_point() or columns.is_complex() or columns.dtype == torch.bool:
        return f"indices must be integers, but are {columns.dtype}"
    if columns.dim() != 1 or columns.numel() == 0:
        return f"indices must have shape (K,) with K >= 1, but have {tuple(columns.shape)}"
    if int(columns.min()) < 0 or int(columns.max()) >= limit:
        return f"indices must lie in 0..{limit - 1}, but lie in {int(columns.min())}..{int(columns.max())}"
    if bool((columns[1:] <= columns[:-1]).any()):
        return "indices must be sorted and without repetition"
    return None


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    first, second = values
    return first, second
