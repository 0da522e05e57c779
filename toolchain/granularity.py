"""What is removed in one piece: values, not strings, that the whole pipeline works from.

A granularity says whether filters go (``filters``) and in what pieces the columns of a convolution go (``columns``). A
piece is a *block* of columns: so many consecutive input channels at one kernel position, or at every one.

=================  =======  ==================================================================
granularity        filters  one block of columns
=================  =======  ==================================================================
``filter``         yes      none
``channel``        no       one input channel, every kernel position
``column``         no       one input channel, one kernel position
``block-column``   no       four input channels, one kernel position
``combined``       yes      as ``column``
``combined-block`` yes      as ``block-column``
``unstructured``   no       none: single weights, which no plan can express (see ``unstructured``)
=================  =======  ==================================================================

Blocks count the input channels that the plan *keeps*, not the original ones: the compiled network numbers its channels
anew, four to a float4 (an RGBA texel), so the fifth kept channel starts the second block wherever it came from. A
last block may be smaller; and where filters go again in a later round, channels shift, so that a block may hold columns
that went before, which are zeros in its float4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from ..models.naming import unknown_name

__all__ = [
    "GRANULARITY_NAMES",
    "BlockColumn",
    "Channel",
    "Column",
    "ColumnGranularity",
    "Combined",
    "Filter",
    "Granularity",
    "GranularityError",
    "Unstructured",
    "granularity_from_name",
]


class GranularityError(ValueError):
    """Unknown or impossible granularity."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Remove filters (rows of the GEMM weight matrix) with the channels they produce."""

    name: ClassVar[str] = "filter"
    filters: ClassVar[bool] = True
    columns: ClassVar[None] = None


@dataclass(frozen=True, kw_only=True)
class Channel:
    """Remove all ``kh*kw`` columns of an input channel of one layer.

    It is the layer's own choice, also where the producer cannot lose the filter: another layer may still read it.
    """

    name: ClassVar[str] = "channel"
    filters: ClassVar[bool] = False
    channels: ClassVar[int] = 1
    every_position: ClassVar[bool] = True

    @property
    def columns(self) -> Channel:
        """How columns go."""
        return self


@dataclass(frozen=True, kw_only=True)
class Column:
    """Remove columns: one (input channel, ky, kx) over all filters of a layer."""

    name: ClassVar[str] = "column"
    filters: ClassVar[bool] = False
    channels: ClassVar[int] = 1
    every_position: ClassVar[bool] = False

    @property
    def columns(self) -> Column:
        """How columns go."""
        return self


@dataclass(frozen=True, kw_only=True)
class BlockColumn:
    """Remove ``block`` consecutive kept input channels at one kernel position, over all filters of a layer.

    Attributes:
        block: Channels of a block, at least 2; 4 is one float4 load.
    """

    block: int = 4
    name: ClassVar[str] = "block-column"
    filters: ClassVar[bool] = False
    every_position: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.block < 2:
            raise GranularityError(f"a block of columns has at least 2 channels, got {self.block}")

    @property
    def channels(self) -> int:
        """Channels of a block."""
        return self.block

    @property
    def columns(self) -> BlockColumn:
        """How columns go."""
        return self


ColumnGranularity: TypeAlias = Channel | Column | BlockColumn


@dataclass(frozen=True, kw_only=True)
class Combined:
    """Remove filters, and columns of what is left.

    Attributes:
        columns: In what pieces columns go.
    """

    columns: Column | BlockColumn = field(default_factory=Column)
    filters: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """``combined`` or ``combined-block``."""
        return "combined-block" if isinstance(self.columns, BlockColumn) else "combined"


@dataclass(frozen=True, kw_only=True)
class Unstructured:
    """Remove single weights. Nothing gets smaller or faster; it bounds what structure costs in accuracy."""

    name: ClassVar[str] = "unstructured"
    filters: ClassVar[bool] = False
    columns: ClassVar[None] = None


Granularity: TypeAlias = Filter | Channel | Column | BlockColumn | Combined | Unstructured

_KNOWN: dict[str, Granularity] = {
    granularity.name: granularity
    for granularity in (
        Filter(),
        Channel(),
        Column(),
        BlockColumn(),
        Combined(),
        Combined(columns=BlockColumn()),
        Unstructured(),
    )
}

GRANULARITY_NAMES: tuple[str, ...] = tuple(_KNOWN)


def granularity_from_name(name: str) -> Granularity:
    """Granularity by its name, one of :data:`GRANULARITY_NAMES`.

    Raises:
        GranularityError: If there is none of that name.
    """
    if name not in _KNOWN:
        raise GranularityError(unknown_name("granularity", name, _KNOWN, plural="granularities"))
    return _KNOWN[name]
