"""The latency model's few constants, for targets without a measurement.

Those of Adreno are found by benchmarks/calibrate_latency_model.py, which fits two of them on four published dense
latencies. Those of local CPU devices are guesses: `latency_fit` replaces both by what one device's kernels took.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .schedules.tile import is_gpu
from .targets import Target

__all__ = ["CALIBRATED", "MODEL_VERSION", "ModelParameters", "default_parameters"]

MODEL_VERSION = "2"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelParameters:
    """The model's constants.

    Attributes:
        wait_us: What a wave waits for one load from a cache. Calibrated; it comes out within the 113 to 203 ns that
            ArchProbe measured for dependent loads on Adreno 640, which took no part.
        resident_waves: Waves of a compute unit whose waits overlap; calibrated. Registers do not limit them: the
            largest tile holds 32 sums in about 50 registers, and up to 183 leave the occupancy as it is.
        launch_us: Cost of one kernel launch. Not fitted: published filter-pruned rows extrapolate to 5 us a kernel
            (ResNet-18) and 30 us (VGG-16) at no work, this is their geometric mean; phones show 6 to 40.
        efficiency: Share of the peak that arithmetic alone reaches; not fitted, the published rows leave it open.
        sync_us: Waiting for the result once; not fitted.
    """

    wait_us: float
    resident_waves: float
    launch_us: float = 12.0
    efficiency: float = 0.8
    sync_us: float = 20.0

    def __post_init__(self) -> None:
        if min(self.wait_us, self.launch_us, self.sync_us) < 0 or not 0 < self.efficiency <= 1:
            raise ValueError(f"times must be at least 0 and the efficiency in (0, 1], got {self}")
        if self.resident_waves < 1:
            raise ValueError(f"resident_waves must be at least 1, got {self.resident_waves}")


# What benchmarks/calibrate_latency_model.py finds, to three digits; a test runs it and compares.
CALIBRATED: Final = ModelParameters(wait_us=0.188, resident_waves=23.3)
# Nominal: a core loads a vector from its cache in a few cycles, and runs work-items one after another.
_CPU: Final = ModelParameters(wait_us=0.0015, resident_waves=1.0, launch_us=15.0)


def default_parameters(target: Target) -> ModelParameters:
    """The constants for a target of which no kernel was measured."""
    return CALIBRATED if is_gpu(target) else _CPU
