"""Optional extras: packages that only some searches or baselines need, named in the error where they are missing."""

import importlib.util


class MissingExtraError(ValueError):
    """A package that was asked for by a flag is not installed."""


def require(module: str, *, extra: str, what: str) -> None:
    """Check that an optional package is there, without importing it.

    Args:
        module: Its import name.
        extra: The extra of `act-compress` that brings it.
        what: What needs it, to begin the message with.

    Raises:
        MissingExtraError: If it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(f"{what} needs the package {module}: pip install 'act-compress[{extra}]'")
