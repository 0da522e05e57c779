"""What all tables share: how one is written, where results lie, what hardware they name."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "results"


def section(title: str, note: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A heading, a note and a table; empty without rows."""
    if not rows:
        return ""
    lines = ["| " + " | ".join(cells) + " |" for cells in (headings, ["---"] * len(headings), *rows)]
    return f"## {title}\n\n{note}\n\n" + "\n".join(lines)


def hardware(run: dict[str, Any]) -> str:
    """Cores and processor of a result."""
    environment = run["environment"]
    return f"{environment['cores']} cores of {environment['processor']}"


def read(path: Path) -> dict[str, Any]:
    """A result file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def result(name: str) -> dict[str, Any] | None:
    """The result file of that name; None where its script was not run."""
    path = RESULTS / name
    return read(path) if path.exists() else None
