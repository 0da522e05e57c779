"""Errors of the compiler. Exit codes: 2 for unreadable input (`OnnxInputError`), 4 for what cannot be compiled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["CompileError", "OnnxInputError", "UnsupportedOpError", "hear_interrupts"]


class CompileError(RuntimeError):
    """A readable network that cannot be compiled for the target."""


class UnsupportedOpError(CompileError):
    """The network has an operator, or a form of one, that the compiler has no kernel for."""


class OnnxInputError(ValueError):
    """The file is not an ONNX model that may be read: not ONNX, cut short, invalid, or reaching outside its folder."""


@contextlib.contextmanager
def hear_interrupts() -> Iterator[None]:
    """Around calls of TVM: of an interrupt that comes while it calls Python, it makes an error without a word."""
    try:
        yield
    except RuntimeError as error:
        if type(error) is RuntimeError and not str(error):
            raise KeyboardInterrupt from error
        raise
