"""LayerShape: all that a cost needs to know of one layer, without its weights.

The toolchain makes these from a network and a pruning plan, the latency model and the compiler's lowering choice read
them. Plain Python: importing this module loads neither torch nor TVM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

__all__ = ["BLOCK_CHANNELS", "LayerKind", "LayerShape"]

# Input channels of a block of columns: a float4, or an RGBA texel.
BLOCK_CHANNELS = 4

LayerKind: TypeAlias = Literal["conv", "depthwise", "linear", "pool", "elementwise"]
LAYER_KINDS: tuple[str, ...] = get_args(LayerKind)
WEIGHTED_KINDS = frozenset({"conv", "depthwise", "linear"})


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerShape:
    """Sizes of one layer, batch 1.

    Attributes:
        name: Module path or node name, for reports.
        kind: ``conv``, ``depthwise`` (one filter group per channel), ``linear``, ``pool``, or ``elementwise`` (an
            addition of two values, which the compiler fuses into the kernel before it).
        c_in: Input channels (features of a linear layer).
        c_out: Output channels (features of a linear layer).
        kernel: ``(kh, kw)``; ``(1, 1)`` for linear and elementwise.
        stride: ``(sy, sx)``.
        padding: ``(py, px)``, on both sides.
        dilation: ``(dy, dx)``.
        groups: Convolution groups; ``c_in`` for depthwise and pool, 1 for linear.
        input_hw: Input height and width; ``(1, 1)`` for linear.
        output_hw: Output height and width; ``(1, 1)`` for linear.
        columns: Kept GEMM columns per filter, at most ``c_in / groups * kh * kw``.
        read_channels: Input channels that a kept column reads; None where it is not known, which counts as all.
        blocks: Blocks of four neighbouring channels at one kernel position that together hold all kept columns (see
            `column_blocks`); None where it is not known.

    Raises:
        ValueError: If a size is not positive, a padding negative, or ``columns``, ``groups``, ``read_channels`` or
            ``blocks`` out of range.
    """

    name: str
    kind: LayerKind
    c_in: int
    c_out: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    input_hw: tuple[int, int]
    output_hw: tuple[int, int]
    columns: int
    read_channels: int | None = None
    blocks: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in LAYER_KINDS:
            raise ValueError(f"layer {self.name!r}: unknown kind {self.kind!r}; known kinds: {', '.join(LAYER_KINDS)}")
        positive = (self.c_in, self.c_out, *self.kernel, *self.stride, *self.dilation, self.groups)
        if min(positive) < 1 or min(*self.input_hw, *self.output_hw) < 1:
            raise ValueError(f"layer {self.name!r}: every size must be at least 1, got {self}")
        if min(self.padding) < 0:
            raise ValueError(f"layer {self.name!r}: padding must be at least 0, got {self.padding}")
        if self.c_in % self.groups:
            raise ValueError(f"layer {self.name!r}: {self.c_in} input channels do not divide into {self.groups} groups")
        if not 1 <= self.columns <= self.dense_columns:
            raise ValueError(f"layer {self.name!r}: columns must be in 1..{self.dense_columns}, got {self.columns}")
        if self.read_channels is not None and not 1 <= self.read_channels <= self.c_in // self.groups:
            most = self.c_in // self.groups
            raise ValueError(f"layer {self.name!r}: read_channels must be in 1..{most}, got {self.read_channels}")
        if self.blocks is not None and not -(-self.columns // BLOCK_CHANNELS) <= self.blocks <= self.columns:
            least = -(-self.columns // BLOCK_CHANNELS)
            raise ValueError(f"layer {self.name!r}: blocks must be in {least}..{self.columns}, got {self.blocks}")

    @property
    def dense_columns(self) -> int:
        """GEMM columns per filter before column pruning."""
        return self.c_in // self.groups * self.kernel[0] * self.kernel[1]

    @property
    def is_dense(self) -> bool:
        """Whether every column is kept."""
        return self.columns == self.dense_columns

    @property
    def weight_count(self) -> int:
        """Remaining weights without bias and without column indices; 0 for pool and elementwise."""
        return self.c_out * self.columns if self.kind in WEIGHTED_KINDS else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image; 0 for pool and elementwise."""
        return self.weight_count * self.output_hw[0] * self.output_hw[1]
