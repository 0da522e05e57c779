"""The equality chain: masked network = compact network = ONNX in onnxruntime = package on a device.

Each link is checked whenever one is made, on random and on real inputs, relative to the largest output. A link that
does not hold is a fault of this program, never of the input: the run stops rather than hand out a network that
computes something else.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from .equality import Values, relative_difference
from .evaluation import evaluating

MASKED_TOLERANCE = 1e-4
ONNX_TOLERANCE = 1e-4

RANDOM_IMAGES = 4


class EqualityError(RuntimeError):
    """Two forms of one network do not compute the same."""


@dataclass(frozen=True, kw_only=True)
class EqualityCheck:
    """A link that holds: what was compared, and the largest difference relative to the largest expected output."""

    pair: str
    difference: float
    tolerance: float
    passed: bool = True

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "EqualityCheck":
        """Read what `to_dict` made."""
        return cls(**record)


def compare_arrays(pair: str, found: Values, expected: Values, *, tolerance: float) -> EqualityCheck:
    """Compare the outputs of two forms of a network.

    Raises:
        EqualityError: If they differ by more than `tolerance`, or are not finite.
    """
    difference = relative_difference(found, expected)
    if not difference <= tolerance:
        raise EqualityError(f"{pair}: outputs differ by {difference:.3g} of the largest, allowed is {tolerance:.3g}")
    return EqualityCheck(pair=pair, difference=difference, tolerance=tolerance)


def compare_modules(
    pair: str, found: nn.Module, expected: nn.Module, inputs: torch.Tensor, *, tolerance: float
) -> EqualityCheck:
    """Compare two modules in evaluation mode, in fp32, on `inputs` `(n, c, h, w)`; see `compare_arrays`."""
    return compare_arrays(pair, outputs_of(found, inputs), outputs_of(expected, inputs), tolerance=tolerance)


def outputs_of(module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Outputs of `module` in evaluation mode, fp32, on the CPU."""
    with evaluating(module), torch.no_grad():
        outputs: torch.Tensor = module.cpu()(inputs.cpu())
        return outputs


def probe_inputs(shape: tuple[int, int, int], real: torch.Tensor) -> torch.Tensor:
    """Inputs of the checks, `(n, c, h, w)` float32: random ones, then the real images."""
    random = np.random.default_rng(0).standard_normal((RANDOM_IMAGES, *shape), dtype=np.float32)
    return torch.cat([torch.from_numpy(random), real.cpu()])
