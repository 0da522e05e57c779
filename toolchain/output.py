"""Results on stdout: one JSON object, or a table; and how quantities are written."""

import json
import math
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 120


def jsonable(value: object) -> object:
    """Return `value` with mappings, sequences and numpy numbers as plain JSON values; NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    return str(value)


def print_json(value: Mapping[str, object] | Sequence[object]) -> None:
    """Print one JSON value, indented, to stdout."""
    sys.stdout.write(json.dumps(jsonable(value), indent=2, allow_nan=False) + "\n")


def console() -> Console:
    """Return a console on stdout; as wide as the terminal, 120 columns in a pipe."""
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = _PIPE_WIDTH
    return out


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    title: str | None = None,
    right: Sequence[str] = (),
) -> None:
    """Print a table to stdout.

    Args:
        headings: One a column.
        rows: Cells; None is an empty cell. Text is printed as it is, never as markup.
        title: Line above the table.
        right: Headings of the columns that are aligned to the right.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(Text(heading), justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    out = console()
    if title:
        out.print(Text(title, style="bold"))
    with out.capture() as captured:
        out.print(table)
    # rich pads the last column; text that is piped on should not end in spaces.
    sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))


def print_fields(fields: Sequence[tuple[str, object]], *, title: str | None = None) -> None:
    """Print names and values, one pair a line."""
    out = console()
    if title:
        out.print(Text(title, style="bold"))
    width = max((len(name) for name, _ in fields), default=0)
    for name, value in fields:
        out.print(Text.assemble((f"{name:<{width}}  ", "dim"), str(value)), soft_wrap=True)


def count_text(value: float) -> str:
    """Write a count with three digits: `812`, `17.4 k`, `4.06 M`, `1.82 G`."""
    for limit, factor, suffix in ((1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if abs(value) >= limit:
            return f"{value / factor:.3g}{suffix}"
    return f"{value:,.0f}"


def bytes_text(value: float) -> str:
    """Write a size: `912 B`, `63.1 kB`, `1.09 MB`."""
    for limit, suffix in ((1e9, " GB"), (1e6, " MB"), (1e3, " kB")):
        if value >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.0f} B"


def memory_text(weight_bytes: int, arena_bytes: int, peak_live_bytes: int | None) -> str:
    """Write a package's memory: `1.1 MB weights, 260 kB activations (1.02× the 255 kB alive at once)`."""
    text = f"{bytes_text(weight_bytes)} weights, {bytes_text(arena_bytes)} activations"
    if not peak_live_bytes:
        return text
    return f"{text} ({arena_bytes / peak_live_bytes:.2f}× the {bytes_text(peak_live_bytes)} alive at once)"


def milliseconds_text(value: float | None) -> str:
    """Write a latency with three digits: `0.412 ms`, `12.3 ms`."""
    if value is None:
        return "–"
    digits = 1 if value >= 100 else 2 if value >= 10 else 3
    return f"{value:.{digits}f} ms"


def percent_text(value: float | None) -> str:
    """Write a percentage with two decimals."""
    return "–" if value is None else f"{value:.2f} %"


def ratio_text(value: float | None) -> str:
    """Write a factor: `8.4×`."""
    if value is None:
        return "–"
    return f"{value:.3g}×" if value < 100 else f"{value:.0f}×"
