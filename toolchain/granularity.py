"""What a plan may remove: filters, columns, or both. Values, not strings."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

__all__ = ["Column", "Combined", "Filter", "Granularity", "GranularityError", "granularity_from_name"]


class GranularityError(ValueError):
    """Unknown granularity."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Remove filters (rows of the GEMM weight matrix) with the channels they produce."""

    name: ClassVar[str] = "filter"
    filters: ClassVar[bool] = True
    columns: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class Column:
    """Remove columns: one (input channel, ky, kx) over all filters of a layer."""

    name: ClassVar[str] = "column"
    filters: ClassVar[bool] = False
    columns: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class Combined:
    """Remove filters, and columns of what is left."""

    name: ClassVar[str] = "combined"
    filters: ClassVar[bool] = True
    columns: ClassVar[bool] = True


Granularity: TypeAlias = Filter | Column | Combined

_KINDS: tuple[type[Filter] | type[Column] | type[Combined], ...] = (Filter, Column, Combined)


def granularity_from_name(name: str) -> Granularity:
    """Granularity called ``filter``, ``column`` or ``combined``.

    Raises:
        GranularityError: If there is none of that name.
    """
    known = {kind.name: kind for kind in _KINDS}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ";"
        raise GranularityError(f"unknown granularity {name!r}{hint} known: {', '.join(known)}")
    return known[name]()
