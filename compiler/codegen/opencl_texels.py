"""Weights in an image: OpenCL C that reads four values at once through a phone's texture cache.

    p[ramp(i, 1, 4)]  =>  read_imagef(p, (int2)(i / 4 % width, i / 4 / width))

Values lie in the image as `images` says. A texel is float32 in registers, whether it is stored as float or half.
"""

from __future__ import annotations

import re
from collections.abc import Set

import tvm
import tvm_ffi
from tvm import tirx
from tvm.sym import Analyzer

from ..errors import CompileError
from ..images import TEXEL_VALUES, image_size
from .half_storage import dtype_of

__all__ = ["declare_images", "spell_texels"]

_POINTER = r"__global (?:float|half)\* restrict "
_FLOAT_TEXEL = f"float32x{TEXEL_VALUES}"


def spell_texels(func: tirx.PrimFunc, images: Set[str]) -> tirx.PrimFunc:
    """The function with loads from the parameters ``<image>_ptr`` as calls.

    Raises:
        CompileError: If an image is read otherwise than by whole texels.
    """
    if not images:
        return func
    pointers = {str(param.name).removesuffix("_ptr"): param for param in func.params}
    broken: list[tvm.ir.Expr] = []  # an exception must not pass through the map: it ends in a crash

    def load(node: tvm.ir.TensorLoad) -> tvm.ir.Expr:
        name = str(node.source.name)
        if name not in images:
            return node
        (index,) = node.indices
        if not _is_texel(index):
            broken.append(index)
            return node
        _, width = image_size(int(node.source.shape[0]))
        texel = tirx.shift_right(index.base, _log2(TEXEL_VALUES))
        row = tirx.shift_right(texel, _log2(width))
        place = tirx.call_pure_extern("int32x2", "(int2)", tirx.bitwise_and(texel, width - 1), row)
        return tirx.call_pure_extern(_FLOAT_TEXEL, "read_imagef", pointers[name], place)

    spelled = tvm_ffi.structural_map(func, ((tvm.ir.TensorLoad, load), (tirx.Cast, _cast)))
    if broken:
        raise CompileError(f"an image is read by whole texels only, not at {broken[0]}")
    return spelled


def declare_images(source: str, images: Set[str]) -> str:
    """The program with those parameters declared as images in place of pointers."""
    for name in sorted(images):
        source = re.sub(rf"{_POINTER}{name}_ptr\b", f"__read_only image2d_t {name}_ptr", source)
    return source


def _is_texel(index: tvm.ir.Expr) -> bool:
    if not isinstance(index, tirx.Ramp) or int(index.lanes) != TEXEL_VALUES:
        return False
    aligned = Analyzer().can_prove_equal(tirx.indexmod(index.base, TEXEL_VALUES), 0)
    return aligned and isinstance(index.stride, tirx.IntImm) and int(index.stride.value) == 1


def _log2(power: int) -> int:
    return power.bit_length() - 1


def _cast(node: tirx.Cast) -> tvm.ir.Expr:
    """A half texel is float32 already."""
    return node.value if dtype_of(node.value) == dtype_of(node) else node
