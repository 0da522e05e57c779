"""Judges a measurement by its samples and by what was seen beside them; pure functions over numbers.

=============  =====================================================================================================
flag           raised when
=============  =====================================================================================================
``noisy``      others used more than 5 % of the processors (and more than a quarter of one) while it ran; or the
               samples scatter: scaled MAD above 10 % of the median, or more than 10 % of them outliers
``drift``      the reference took more than 5 % longer, or less long, after the candidate than before it
``throttled``  the reference took more than 15 % longer than it usually does on this device
``unstable``   the warm-up reached its limit before two windows of it agreed within 3 %
``short``      the limit of time (or of a million samples) came before all that was asked for
=============  =====================================================================================================

An outlier is further from the median than five scaled MADs and than 10 % of the median. The scaled MAD is 1.4826 times
the median distance to the median, the standard deviation of a normal distribution.

The reference cancels drift by rejection: a measurement that drifted is repeated, and flagged where that does not help.
Samples are never scaled by it. That would assume that candidate and reference slow down by the same share, which is
false for a kernel that waits for memory; below the limits it would add more error than it takes away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

MAX_OTHER_SHARE: Final = 0.05
MAX_OTHER_CORES: Final = 0.25
MAX_SCATTER: Final = 0.10
MAX_OUTLIER_SHARE: Final = 0.10
MAX_DRIFT: Final = 0.05
MAX_SLOWDOWN: Final = 0.15
OUTLIER_MADS: Final = 5.0
MINIMUM_SAMPLES: Final = 10
"""Fewer do not tell scatter from chance."""
MINIMUM_WINDOW_S: Final = 0.2
"""Processors' times are told in hundredths of a second."""
_SCALE: Final = 1.4826


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How samples lie around their median.

    Attributes:
        minimum: The smallest.
        mad: Median distance to the median, unscaled.
        outliers: How many lie far off.
    """

    minimum: float
    mad: float
    outliers: int


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What was seen beside the samples; None where it could not be.

    Attributes:
        other_cores: Processors that others kept busy on average while it ran.
        cores: Processors of the machine.
        window_s: How long that was watched.
        reference_before_ms: Median time of the reference before.
        reference_after_ms: And after.
        usual_reference_ms: What it usually takes on this device.
        is_stable: Whether the warm-up came to rest.
        missing_samples: How many samples fewer than asked for were taken.
        missing_s: How much shorter than asked for it took.
    """

    other_cores: float | None = None
    cores: int | None = None
    window_s: float = 0.0
    reference_before_ms: float | None = None
    reference_after_ms: float | None = None
    usual_reference_ms: float | None = None
    is_stable: bool | None = None
    missing_samples: int = 0
    missing_s: float = 0.0


def spread_of(samples_ms: Sequence[float]) -> Spread:
    """Describe samples; at least one, milliseconds."""
    values = np.asarray(samples_ms, np.float64)
    middle = float(np.median(values))
    mad = float(np.median(np.abs(values - middle)))
    limit = max(OUTLIER_MADS * _SCALE * mad, MAX_SCATTER * middle)
    return Spread(minimum=float(values.min()), mad=mad, outliers=int((np.abs(values - middle) > limit).sum()))


def judge(samples_ms: Sequence[float], seen: Circumstances) -> dict[str, str]:
    """The flags of a measurement with the reason of each; empty for a good one."""
    found = {
        "noisy": "; ".join(filter(None, (_others(seen), _scatter(samples_ms)))),
        "drift": _drift(seen),
        "throttled": _slowdown(seen),
        "unstable": "the warm-up did not come to rest" if seen.is_stable is False else "",
        "short": _missing(seen),
    }
    return {name: reason for name, reason in found.items() if reason}


def drift_of(seen: Circumstances) -> float | None:
    """How many times longer the reference took after the candidate than before it; None where it was not timed."""
    before, after = seen.reference_before_ms, seen.reference_after_ms
    return None if not before or after is None else after / before


def _others(seen: Circumstances) -> str:
    if seen.other_cores is None or seen.window_s < MINIMUM_WINDOW_S:
        return ""
    limit = max(MAX_OTHER_CORES, MAX_OTHER_SHARE * (seen.cores or 1))
    if seen.other_cores <= limit:
        return ""
    return f"others kept {seen.other_cores:.1f} processors busy while it ran (allowed are {limit:.2g})"


def _scatter(samples_ms: Sequence[float]) -> str:
    if len(samples_ms) < MINIMUM_SAMPLES:
        return ""
    spread, middle = spread_of(samples_ms), float(np.median(samples_ms))
    if _SCALE * spread.mad > MAX_SCATTER * middle:
        share = _SCALE * spread.mad / middle
        return f"the samples scatter by {100 * share:.0f} % of their median (allowed are {100 * MAX_SCATTER:.0f} %)"
    if spread.outliers > MAX_OUTLIER_SHARE * len(samples_ms):
        return f"{spread.outliers} of {len(samples_ms)} samples lie far from the median"
    return ""


def _drift(seen: Circumstances) -> str:
    drift = drift_of(seen)
    if drift is None or max(drift, 1 / drift) <= 1 + MAX_DRIFT:
        return ""
    word = "slower" if drift > 1 else "faster"
    return (
        f"the device became {100 * (max(drift, 1 / drift) - 1):.0f} % {word} meanwhile: the reference took "
        f"{seen.reference_before_ms:.3g} ms before and {seen.reference_after_ms:.3g} ms after"
    )


def _slowdown(seen: Circumstances) -> str:
    usual, before, after = seen.usual_reference_ms, seen.reference_before_ms, seen.reference_after_ms
    if not usual or before is None or after is None:
        return ""
    slowdown = (before + after) / 2 / usual - 1
    if slowdown <= MAX_SLOWDOWN:
        return ""
    return f"the device is {100 * slowdown:.0f} % slower than usual: the reference usually takes {usual:.3g} ms"


def _missing(seen: Circumstances) -> str:
    if seen.missing_samples <= 0 and seen.missing_s <= 0:
        return ""
    parts = []
    if seen.missing_samples > 0:
        parts.append(f"{seen.missing_samples} samples fewer than asked for")
    if seen.missing_s > 0:
        parts.append(f"{seen.missing_s:.0f} s less than asked for")
    return " and ".join(parts) + ": the limit came first"
