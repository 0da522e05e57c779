"""What a checklist of a device is made of."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Outcome = Literal["pass", "fail", "skip"]


@dataclass(frozen=True, kw_only=True)
class CheckedItem:
    """One item: ``skip`` is what could not be judged or is not needed; ``next_step`` says what to do about it."""

    name: str
    outcome: Outcome
    found: str
    next_step: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)
