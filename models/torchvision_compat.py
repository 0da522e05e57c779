"""torchvision, also where its wheel was built for another torch.

torchvision's wheels from the package index are built for CUDA torch. Beside a CPU build of torch, ``import
torchvision`` ends with ``operator torchvision::nms does not exist``, because it describes operators that its binary
part did not register. Declaring them first is enough for data sets, transforms and networks.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_MISSING_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# A torch.library.Library takes its declarations with it when it is garbage collected.
_declarations: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Import torchvision, declaring its missing operators where the wheels do not match.

    Raises:
        ImportError: If torchvision is not installed or cannot be imported even so.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if not is_mismatch(error):
            raise
    # A half-done import leaves submodules behind that would be taken for imported ones.
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    if not _declarations:
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in _MISSING_OPERATORS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _declarations.append(library)
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        raise ImportError(
            f"torchvision does not fit torch {torch.__version__}: {error}; install the pair of constraints.txt"
        ) from error


def is_mismatch(error: BaseException) -> bool:
    """Whether importing torchvision failed because it was built for another torch."""
    return "operator torchvision::" in str(error)
