"""Functions of TIR in GLSL: those that it has under another name, and those that it lacks.

    erf(x) = sign(x) (1 - t (a1 + t (a2 + t (a3 + t (a4 + t a5)))) exp(-x²)),   t = 1 / (1 + p |x|)

with an error of at most 1.5e-7 (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from ..errors import CompileError

__all__ = ["call_text", "helper_functions"]

_SAME: Final = (
    *("exp", "exp2", "log", "log2", "sqrt", "floor", "ceil", "trunc", "isnan", "isinf"),
    *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh"),
)
# GLSL's own, by the names of TIR and of OpenCL.
_BUILT_IN: Final = MappingProxyType(
    {
        **{
            name: name for name in ("exp", "exp2", "log", "log2", "sqrt", "floor", "ceil", "trunc", "sin", "cos", "tan")
        },
        **{
            name: name for name in ("asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "isnan", "isinf")
        },
        "fabs": "abs",
        "abs": "abs",
        "fmax": "max",
        "fmin": "min",
        "rsqrt": "inversesqrt",
        "nearbyint": "roundEven",
        "rint": "roundEven",
        "popcount": "bitCount",
    }
)
# Expressions of the arguments' texts.
_SHORT: Final = MappingProxyType(
    {
        "exp10": "exp2({0} * 3.32192809)",
        "log10": "(log2({0}) * 0.301029996)",
        "tanh": "tanh(clamp({0}, -15.0, 15.0))",  # beyond, some drivers divide two infinities
        "round": "(sign({0}) * floor(abs({0}) + 0.5))",
        "fmod": "({0} - {1} * trunc({0} / {1}))",
        "sigmoid": "(1.0 / (1.0 + exp(-{0})))",
    }
)
# Functions of floats that are written into the program; vectors go through them element by element.
_HELPERS: Final = MappingProxyType(
    {
        "erf": """float act_erf(float x) {
  float t = 1.0 / (1.0 + 0.3275911 * abs(x));
  float y = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return sign(x) * (1.0 - y * exp(-x * x));
}""",
        # GLSL's pow is undefined for a negative base, and for 0 to the power of 0.
        "pow": """float act_pow(float x, float y) {
  if (y == 0.0) return 1.0;
  float power = pow(abs(x), y);
  return x < 0.0 && mod(y, 2.0) == 1.0 ? -power : power;
}""",
    }
)


def call_text(name: str, lanes: int, arguments: Sequence[str], used: set[str]) -> str:
    """Text of a call on float scalars or vectors.

    Args:
        name: Of TIR, or of OpenCL with or without a suffix ``f``.
        lanes: Of the arguments and the result, at most four.
        arguments: Their texts; names, where a function repeats them.
        used: Receives the helper that the program needs.

    Raises:
        CompileError: If there is no such function.
    """
    known = {*_BUILT_IN, *_SHORT, *_HELPERS}
    plain = name if name in known else name.removesuffix("f")
    if plain in _BUILT_IN:
        return f"{_BUILT_IN[plain]}({', '.join(arguments)})"
    if plain in _SHORT:
        return _SHORT[plain].format(*arguments)
    if plain not in _HELPERS:
        raise CompileError(f"function {name!r} has no form in GLSL")
    used.add(plain)
    if lanes == 1:
        return f"act_{plain}({', '.join(arguments)})"
    calls = (f"act_{plain}({', '.join(f'{text}.{lane}' for text in arguments)})" for lane in "xyzw"[:lanes])
    return f"vec{lanes}({', '.join(calls)})"


def helper_functions(used: set[str]) -> list[str]:
    """Definitions of the helpers in ``used``."""
    return [text for name, text in _HELPERS.items() if name in used]
