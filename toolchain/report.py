"""The report of a run: `report.json`, `report.html`, and the table that ends `act compress`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from .output import console, jsonable, milliseconds_text, print_table
from .report_page import render
from .report_schema import SCHEMA_VERSION, ReportError, parse_report, read_report
from .report_values import comparison_rows, constraint_rows
from .run_folder import write_atomic

__all__ = ["SCHEMA_VERSION", "ReportError", "print_summary", "read_report", "write_html", "write_report"]


def write_report(folder: Path, report: Mapping[str, Any]) -> Path:
    """Write `report.json` and `report.html` into `folder`.

    Args:
        folder: The run folder.
        report: See `report_schema`; NaN and infinity are written as null.

    Returns:
        The path of the page.

    Raises:
        ReportError: If the report does not follow the schema; `report.json` is written even then.
    """
    values = jsonable(report)
    write_atomic(folder / "report.json", json.dumps(values, indent=2, allow_nan=False) + "\n")
    return write_html(folder / "report.html", report)


def write_html(path: Path, report: Mapping[str, Any]) -> Path:
    """Write the page alone.

    Raises:
        ReportError: If the report does not follow the schema.
    """
    return write_atomic(path, render(parse_report(_plain(report), source="the report")))


def print_summary(report: Mapping[str, Any]) -> None:
    """Print before and after, the constraint, and the equality chain to stdout."""
    parsed = parse_report(_plain(report), source="the report")
    rows = [(row.name, row.before, row.after, row.change) for row in comparison_rows(parsed)]
    print_table(("", "before", "after", "ratio"), rows, title=parsed.title, right=("before", "after", "ratio"))
    out = console()
    if parsed.constraint.met is not None:
        met = parsed.constraint.met
        out.print(Text("constraint met" if met else "constraint NOT met", style="green" if met else "bold red"))
        for line in constraint_rows(parsed.constraint):
            out.print(Text(f"  {line}"), soft_wrap=True)
    for latency in parsed.result.latency:
        if latency.flags:
            out.print(Text(f"latency {latency.label} was disturbed: {latency.disturbance}"), soft_wrap=True)
    measured = [item for item in parsed.predictions if item.relative_error is not None]
    if measured:
        last = measured[-1]
        found = f"predicted {milliseconds_text(last.predicted_ms)}, measured {milliseconds_text(last.measured_ms)}"
        out.print(
            Text(f"sum of kernels, {last.name}: {found} ({100 * (last.relative_error or 0):+.1f} %)"), soft_wrap=True
        )
    if parsed.equality:
        worst = max((link.difference or 0.0) for link in parsed.equality)
        failed = [link.pair for link in parsed.equality if not link.passed]
        text = f"NOT equal: {', '.join(failed)}" if failed else f"equality chain holds (largest difference {worst:.1e})"
        out.print(Text(text, style="bold red" if failed else ""), soft_wrap=True)


def _plain(report: Mapping[str, Any]) -> dict[str, Any]:
    values = jsonable(report)
    assert isinstance(values, dict)
    return values
