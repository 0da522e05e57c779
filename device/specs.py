"""What is known of each Adreno GPU, as values; a target's latency model and its limits start from these.

The 640's figures were measured with microsoft/ArchProbe on a Pixel 4. Of the others, compute units, clock and peak rate
are published figures or the middle of a published range, and memory bandwidth is recalled except where measured;
``sources`` says which. Cache sizes and bandwidths of the others are taken from the 640.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, kw_only=True)
class AdrenoSpec:
    """One GPU.

    Attributes:
        name: As a target is called, e.g. ``adreno640``.
        soc: Marketing name of the Snapdragon chip that carries it.
        compute_units: Shader processors.
        clock_mhz: Highest usual clock.
        peak_gflops: fp32 rate, a multiply-accumulate counted as two operations.
        dram_gbps: Memory bandwidth in GB/s (1e9 bytes).
        l2_gbps: Bandwidth of the second-level cache in GB/s.
        l2_kb: Size of the second-level cache in KiB.
        local_memory_kb: Local memory of a work-group in KiB.
        constant_memory_kb: Constant memory in KiB.
        wave_sizes: Work-items that run together, half and full.
        max_work_group_size: Work-items of one work-group at most.
        max_image_size: Largest width and height of an image in texels.
        sources: Where the figures come from, by field; a field not named is general knowledge.
    """

    name: str
    soc: str
    compute_units: int
    clock_mhz: int
    peak_gflops: float
    dram_gbps: float
    l2_gbps: float = 97.5
    l2_kb: int = 128
    local_memory_kb: int = 32
    constant_memory_kb: int = 64
    wave_sizes: tuple[int, int] = (64, 128)
    max_work_group_size: int = 1024
    max_image_size: int = 16384
    sources: str = "recalled"


_MEASURED: Final = "peak_gflops, dram_gbps, caches: measured with ArchProbe on a Pixel 4"

_TABLE: Final = (
    AdrenoSpec(
        name="adreno530", soc="Snapdragon 820", compute_units=4, clock_mhz=653, peak_gflops=463.0, dram_gbps=29.0
    ),
    AdrenoSpec(
        name="adreno540", soc="Snapdragon 835", compute_units=4, clock_mhz=710, peak_gflops=550.0, dram_gbps=30.0
    ),
    AdrenoSpec(
        name="adreno618", soc="Snapdragon 730", compute_units=1, clock_mhz=662, peak_gflops=338.0, dram_gbps=15.0
    ),
    AdrenoSpec(
        name="adreno630",
        soc="Snapdragon 845",
        compute_units=2,
        clock_mhz=710,
        peak_gflops=727.0,
        dram_gbps=28.0,
        sources="dram_gbps: measured; others recalled",
    ),
    AdrenoSpec(
        name="adreno640",
        soc="Snapdragon 855",
        compute_units=2,
        clock_mhz=585,
        peak_gflops=890.0,
        dram_gbps=30.0,
        sources=_MEASURED,
    ),
    AdrenoSpec(
        name="adreno650", soc="Snapdragon 865", compute_units=3, clock_mhz=587, peak_gflops=1050.0, dram_gbps=44.0
    ),
    AdrenoSpec(
        name="adreno660", soc="Snapdragon 888", compute_units=3, clock_mhz=840, peak_gflops=1290.0, dram_gbps=51.0
    ),
    AdrenoSpec(
        name="adreno730", soc="Snapdragon 8 Gen 1", compute_units=4, clock_mhz=818, peak_gflops=1675.0, dram_gbps=51.0
    ),
    AdrenoSpec(
        name="adreno740", soc="Snapdragon 8 Gen 2", compute_units=6, clock_mhz=680, peak_gflops=2100.0, dram_gbps=67.0
    ),
    AdrenoSpec(
        name="adreno750", soc="Snapdragon 8 Gen 3", compute_units=6, clock_mhz=868, peak_gflops=2665.0, dram_gbps=77.0
    ),
)

ADRENO_SPECS: Final = MappingProxyType({spec.name: spec for spec in _TABLE})
"""All known GPUs by name, oldest first."""
