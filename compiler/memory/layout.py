"""Where the elements of an activation lie in memory: plain rows, or rows with a halo of zeros for padded convolutions.

    address(n, c, y, x) = lead + n*C*plane + c*plane + y*pitch + x,   pitch = W + px,  plane = (H + py)*pitch

Rows share their halo: the ``px`` zeros behind a row are those before the next one, and the ``py`` zero rows below a
channel are those above the next. So a convolution reads its padding as data, with no comparison in its inner loop, and
a vector of neighbouring pixels is one load for every kernel position. Every kernel that writes a tensor writes its halo
(`codegen.halo_stores`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

__all__ = ["Layout", "Part"]

# A vector at the end of the last row may read beyond it; what it reads there is never stored.
SLACK_ELEMENTS = 256


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Memory layout of one activation.

    Attributes:
        shape: Logical shape.
        halo: Zero rows and columns around each ``(H, W)`` plane; ``(0, 0)`` for other ranks.
        row: Least elements from one row to the next; what lies behind a row is halo.
        slack: Elements behind the last one that may be read.
        align: Rows with a halo begin at multiples of this many elements.
    """

    shape: tuple[int, ...]
    halo: tuple[int, int] = (0, 0)
    row: int = 0
    slack: int = 0
    align: int = 1

    @property
    def is_plain(self) -> bool:
        """Whether elements lie in row-major order without gaps."""
        return not self.shape or (self.halo == (0, 0) and self.pitch == self.shape[-1])

    @property
    def pitch(self) -> int:
        """Elements from one row to the next."""
        pitch = max(self.shape[-1] + self.halo[1], self.row)
        return pitch if pitch == self.shape[-1] else self._aligned(pitch)

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements from one index to the next, per axis."""
        if self.is_plain:
            return tuple(prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))
        _, channels, height, _ = self.shape
        plane = (height + self.halo[0]) * self.pitch
        return (channels * plane, plane, self.pitch, 1)

    @property
    def has_halo(self) -> bool:
        """Whether zeros lie around the planes; what only fills up rows may hold anything."""
        return any(self.halo)

    @property
    def before(self) -> int:
        """Elements of the halo before the first element."""
        return self.halo[0] * self.pitch + self.halo[1]

    @property
    def lead(self) -> int:
        """Elements before the first one."""
        return 0 if self.is_plain else self._aligned(self.before)

    def _aligned(self, elements: int) -> int:
        return -(-elements // self.align) * self.align

    @property
    def elements(self) -> int:
        """Elements of the whole allocation, halo and slack included."""
        if self.is_plain:
            return prod(self.shape) + self.slack
        return self.lead + self.shape[0] * self.strides[0] + self.slack

    def part(self, axis: int, start: int, size: int) -> Part:
        """Indices ``start`` to ``start + size - 1`` of an axis, in the same memory.

        Raises:
            ValueError: If they are not all there.
        """
        if not 0 <= start < start + size <= self.shape[axis]:
            raise ValueError(f"axis {axis} of {self.shape} has no part {start}..{start + size - 1}")
        shape = (*self.shape[:axis], size, *self.shape[axis + 1 :])
        return Part(shape=shape, whole=self, axis=axis, start=start)


@dataclass(frozen=True, kw_only=True)
class Part(Layout):
    """Neighbouring indices of one axis of another layout: the same strides, further in.

    A kernel that is given the whole tensor's memory and this layout reads or writes its part alone. Rows, planes and
    halo are those of the whole.

    Attributes:
        whole: Layout of the whole tensor; may be a part itself.
        axis: Cut along this axis.
        start: First index of the part.
    """

    whole: Layout
    axis: int
    start: int

    @property
    def is_plain(self) -> bool:
        """Never: a part does not begin where its memory does."""
        return False

    @property
    def pitch(self) -> int:
        """Of the whole."""
        return self.whole.pitch

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the whole."""
        return self.whole.strides

    @property
    def lead(self) -> int:
        """Elements of the whole before the part's first one."""
        return self.whole.lead + self.start * self.whole.strides[self.axis]

    @property
    def has_halo(self) -> bool:
        """As the whole."""
        return self.whole.has_halo

    @property
    def before(self) -> int:
        """As of the whole: behind the part before it lies as much of the halo."""
        return self.whole.before

    @property
    def elements(self) -> int:
        """Elements of the part itself; halo and slack belong to the whole."""
        return prod(self.shape)
