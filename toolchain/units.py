"""Units: identities of channels, merged where channels can only be removed together, frozen where they cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Channels", "UnitArray", "UnitTable"]

UnitArray: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Channels:
    """The channels of one value.

    Attributes:
        units: Unit of the channel at each index of dimension ``axis``.
        axis: Dimension of the channels; 1 for images, the last for tokens.
        stain: What makes a removed channel other than zero here (a gate's sigmoid), or None while it is zero. Only a
            product with the same channels unstained, or a batch norm, washes it off; a layer must not read it.
    """

    units: UnitArray
    axis: int = 1
    stain: str | None = None


class UnitTable:
    """All units of a network: a union-find with reasons not to remove."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._frozen: list[tuple[UnitArray, str]] = []

    @property
    def count(self) -> int:
        """Units made so far."""
        return len(self._parents)

    def new(self, count: int) -> UnitArray:
        """Make ``count`` units."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count, dtype=np.int64)

    def new_frozen(self, count: int, reason: str) -> UnitArray:
        """Make ``count`` units that may not be removed."""
        units = self.new(count)
        self.freeze(units, reason)
        return units

    def freeze(self, units: UnitArray, reason: str) -> None:
        """Forbid to remove ``units``."""
        self._frozen.append((units, reason))

    def merge(self, first: UnitArray, second: UnitArray) -> None:
        """Make unit ``first[i]`` and unit ``second[i]`` one, for every i."""
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            old, new = sorted((self.root(a), self.root(b)))
            self._parents[new] = old

    def root(self, unit: int) -> int:
        """The oldest unit that is one with ``unit``."""
        parents = self._parents
        while parents[unit] != unit:
            parents[unit] = parents[parents[unit]]
            unit = parents[unit]
        return unit

    def roots(self) -> UnitArray:
        """The representative of every unit."""
        return np.array([self.root(unit) for unit in range(self.count)], dtype=np.int64)

    def frozen_roots(self) -> dict[int, str]:
        """Why units may not be removed, by representative; the first reason found."""
        reasons: dict[int, str] = {}
        for units, reason in self._frozen:
            for unit in units.tolist():
                reasons.setdefault(self.root(unit), reason)
        return reasons
