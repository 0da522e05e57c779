"""What a pool of devices goes by, and what it tells."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from .errors import DeviceError


class NoDeviceLeftError(DeviceError):
    """Every device of a pool was given up."""


@dataclass(frozen=True, kw_only=True)
class ReturnPolicy:
    """How long devices that went away are waited for.

    Attributes:
        look_s: Seconds before each look at it; the last one repeats.
        give_up_s: Seconds without any device that works, after which all are given up.
        failures: Failures in a row, each after a return, with which it is given up, too.
    """

    look_s: tuple[float, ...] = (2.0, 5.0, 10.0, 30.0)
    give_up_s: float = 600.0
    failures: int = 3


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that happened to a device, for the journal and for whoever watches."""

    device: str
    happened: Literal["left out", "paused", "returned", "given up"]
    text: str

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)
