"""The equality chain: masked network = compact network = ONNX in onnxruntime = package on a device.

Each link is checked whenever one is made, on random and on real inputs, relative to the largest output. A link that
does not hold is a bug of act: the run stops rather than hand out a network that computes something else.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from .equality import relative_difference
from .evaluation import evaluating

MASKED_TOLERANCE = 1e-4
ONNX_TOLERANCE = 1e-4
PACKAGE_TOLERANCE = 1e-3

FloatArray = npt.NDArray[np.float32]


class EqualityError(RuntimeError):
    """Two forms of one network do not compute the same."""


@dataclass(frozen=True, kw_only=True)
class EqualityCheck:
    """One link: which forms were compared, and how far apart they are, relative to the largest output."""

    pair: str
    difference: float
    tolerance: float
    passed: bool


def check_equal(pair: str, found: FloatArray, expected: FloatArray, *, tolerance: float) -> EqualityCheck:
    """Compare the outputs of two forms of a network.

    Raises:
        EqualityError: If they differ by more than `tolerance`, or are not finite.
    """
    difference = relative_difference(torch.from_numpy(np.array(found)), torch.from_numpy(np.array(expected)))
    if not difference <= tolerance:
        raise EqualityError(f"equality check failed: {pair}: relative difference {difference:.2e} > {tolerance:.0e}")
    return EqualityCheck(pair=pair, difference=float(difference), tolerance=tolerance, passed=True)


def probe_inputs(shape: tuple[int, int, int], real: torch.Tensor, count: int = 8) -> FloatArray:
    """Inputs for a check, `(count, c, h, w)` float32: one half random, the other from real images."""
    half = count // 2
    random = np.random.default_rng(0).standard_normal((count - half, *shape), dtype=np.float32)
    return np.concatenate([random, real[:half].cpu().numpy()])


def outputs_of(module: nn.Module, inputs: FloatArray) -> FloatArray:
    """Outputs of `module` in evaluation mode, fp32, on the CPU."""
    with evaluating(module), torch.no_grad():
        return np.asarray(module.cpu()(torch.from_numpy(inputs)).numpy(), dtype=np.float32)
