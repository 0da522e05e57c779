"""What published weights of torchvision's networks hold otherwise than the networks themselves.

Keys of older versions are renamed (DenseNet's ``norm.1`` is now ``norm1``, ViT's ``linear_1`` now ``0``); the
auxiliary classifiers of GoogLeNet and Inception v3, which only training uses, are left out. A key that the network has
is never touched.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TypeVar

_Value = TypeVar("_Value")

_RENAMED = (
    (re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..+)"), r"\1\2"),
    (re.compile(r"(.*\.mlp)\.linear_1\.(weight|bias)"), r"\1.0.\2"),
    (re.compile(r"(.*\.mlp)\.linear_2\.(weight|bias)"), r"\1.3.\2"),
)
_AUXILIARY_PREFIXES = ("aux1.", "aux2.", "AuxLogits.")


def adapt_keys(state: Mapping[str, _Value], own: Collection[str]) -> dict[str, _Value]:
    """Bring the keys of a file to those of a network.

    Args:
        state: Of the file.
        own: Keys of the network.

    Returns:
        The same values; those that the network cannot take under any name keep theirs.
    """
    adapted: dict[str, _Value] = {}
    for key, value in state.items():
        if key in own:
            adapted[key] = value
        elif not key.startswith(_AUXILIARY_PREFIXES):
            adapted[_renamed(key, own)] = value
    return adapted


def _renamed(key: str, own: Collection[str]) -> str:
    candidates = (pattern.sub(replacement, key) for pattern, replacement in _RENAMED if pattern.fullmatch(key))
    return next((name for name in candidates if name in own), key)
