"""Two packages of one network, timed by turns, so that a busy or drifting device slows both."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from ...device.devices import Device, TimingOptions
from ...device.package_format import read_package
from ...device.precision import TOLERANCES

__all__ = ["PairedTimes", "compare_packages"]


@dataclass(frozen=True, kw_only=True)
class PairedTimes:
    """Milliseconds of one inference, a pair each turn."""

    turns_ms: tuple[tuple[float, float], ...]

    @property
    def before_ms(self) -> float:
        """Median of the first package."""
        return statistics.median(before for before, _ in self.turns_ms)

    @property
    def after_ms(self) -> float:
        """Median of the second package."""
        return statistics.median(after for _, after in self.turns_ms)

    @property
    def ratio(self) -> float:
        """How many times faster the second is: the median of the turns' ratios."""
        return statistics.median(before / after for before, after in self.turns_ms)


def compare_packages(before: Path, after: Path, device: Device, *, turns: int = 5, runs: int = 10) -> PairedTimes:
    """Verify and time two packages by turns.

    Args:
        before: The first package.
        after: The second.
        device: Where both run.
        turns: Pairs.
        runs: Inferences of each package in a turn, of which the median counts.

    Raises:
        DeviceError: If one does not run, or its output is wrong.
    """
    tolerance = TOLERANCES[read_package(before).precision]
    options = TimingOptions(runs=runs, warmup=2, bursts=0, profile_runs=0, max_seconds=2.0, tolerance=tolerance)
    pairs = []
    for _ in range(turns):
        first, second = (statistics.median(device.time(path, options).single_ms) for path in (before, after))
        pairs.append((first, second))
    return PairedTimes(turns_ms=tuple(pairs))
