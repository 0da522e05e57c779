"""The nearest known name, for error messages that say what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import takewhile

_LEAST_LIKENESS = 0.5


def unknown_name(
    kind: str, name: str, known: Iterable[str], *, plural: str | None = None, unlisted: Iterable[str] = ()
) -> str:
    """Describe an unknown name: ``unknown model 'resnet21': did you mean 'resnet20'? known models: …``.

    Args:
        kind: What is named, in the singular.
        name: The unknown name.
        known: Allowed names, listed in this order.
        plural: Of ``kind``, where it does not end in s.
        unlisted: More allowed names, too many to list; one of them may have been meant.
    """
    names = list(known)
    near = _nearest(name, [*names, *unlisted])
    question = f"did you mean {near!r}? " if near else ""
    return f"unknown {kind} {name!r}: {question}known {plural or kind + 's'}: {', '.join(names) if names else 'none'}"


def _nearest(name: str, names: list[str]) -> str | None:
    """The most alike name; among equals the one with the longest common beginning."""

    def likeness(candidate: str) -> tuple[float, int]:
        given, other = name.lower(), candidate.lower()
        common = takewhile(lambda pair: pair[0] == pair[1], zip(given, other, strict=False))
        return difflib.SequenceMatcher(None, given, other).ratio(), len(list(common))

    best = max(names, key=likeness, default=None)
    return best if best is not None and likeness(best)[0] >= _LEAST_LIKENESS else None
