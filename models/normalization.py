"""The informal note on normalisation that published weights carry, read into numbers.

``mean 0.485,0.456,0.406 std 0.229,0.224,0.225 on [0,1] RGB``: per channel, of values scaled to 0..1 (or 0..255), in
that channel order. It says nothing of the image's size; that comes from the data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBERS = r"([-+0-9.eE,\s]+?)"
_NOTE = re.compile(rf"mean\s+{_NUMBERS}\s+std\s+{_NUMBERS}\s+on\s+\[0,\s*(1|255)\]\s*(RGB|BGR|GRAY)?")


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """``(value * scale - mean) / std``.

    Attributes:
        mean: Per channel.
        std: Per channel.
        scale: 1/255 where the note speaks of [0,1], 1 where of [0,255].
        channel_order: ``"RGB"``, ``"BGR"``, ``"GRAY"``, or ``None`` where the note does not say.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float
    channel_order: str | None


def parse_normalization(text: str) -> Normalization:
    """Read a note.

    Raises:
        ValueError: If it is not of the form above.
    """
    match = _NOTE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not understood: {text!r}; it must read 'mean a,b,c std d,e,f on [0,1] RGB'")
    try:
        mean, std = (tuple(float(number) for number in match[group].split(",")) for group in (1, 2))
    except ValueError as error:
        raise ValueError(f"not understood: {text!r}: {error}") from error
    return Normalization(mean=mean, std=std, scale=1 / 255 if match[3] == "1" else 1.0, channel_order=match[4])
