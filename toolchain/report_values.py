"""The figures of a report in words, shared by the page and by the table on the terminal."""

from collections.abc import Callable
from dataclasses import dataclass

from .output import bytes_text, count_text, milliseconds_text, percent_text, ratio_text
from .report_schema import Constraint, Latency, Report

COST_NAMES = {"latency": "modelled latency, ms", "macs": "MACs", "params": "parameters"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure before and after. `headline` names it where it is one of the large figures of the page."""

    name: str
    before: str
    after: str
    change: str
    ratio: float | None = None
    headline: str = ""


def comparison_rows(report: Report) -> list[Row]:
    """Return every figure before and after; latencies only within one kind and device."""
    b, a = report.baseline, report.result
    drop = report.accuracy_drop
    rows = [
        Row(
            name="test accuracy, top 1",
            before=percent_text(b.accuracy_top1),
            after=percent_text(a.accuracy_top1),
            change="" if drop is None else f"{-drop:+.2f} points",
        ),
        _counted("parameters", b.params, a.params, count_text, headline="fewer parameters"),
        _counted("  of convolutions", b.conv_params, a.conv_params, count_text),
        _counted("MACs", b.macs, a.macs, count_text, headline="fewer MACs"),
        _counted("ONNX file", b.file_bytes, a.file_bytes, bytes_text),
    ]
    if a.column_indices:
        rows.insert(3, Row(name="  column indices", before="–", after=count_text(a.column_indices), change=""))
    return [*rows, *(_latency_row(entry, report) for entry in a.latency)]


def constraint_rows(constraint: Constraint) -> list[str]:
    """Return one text for each part of a constraint: `MACs at least 4× smaller: 4.31×`."""
    return [
        _constraint_text(name, asked, constraint.reached.get(name))
        for name, asked in constraint.asked.items()
        if asked is not None
    ]


def cost_text(value: float, objective: str) -> str:
    """Write a cost in the unit of its objective."""
    if objective in ("params", "macs"):
        return f"{count_text(value)} {COST_NAMES[objective]}"
    return milliseconds_text(value)


def _constraint_text(name: str, asked: float, reached: float | None) -> str:
    if name.endswith("_x"):
        what = {"params_x": "parameters", "macs_x": "MACs"}.get(name, name)
        return f"{what}: {asked:g}× fewer asked, {ratio_text(reached)} reached"
    if name == "latency_ms":
        return f"latency: at most {milliseconds_text(asked)} asked, {milliseconds_text(reached)} reached"
    if name == "max_accuracy_drop":
        lost = "–" if reached is None else f"{max(reached, 0.0):.2f}"
        points = "1 point" if asked == 1 else f"{asked:g} points"
        return f"accuracy: at most {points} lost asked, {lost} lost on the search part"
    return f"{name}: {asked:g} asked, {'–' if reached is None else f'{reached:g}'} reached"


def _counted(
    name: str, before: float | None, after: float | None, write: Callable[[float], str], headline: str = ""
) -> Row:
    ratio = before / after if before and after else None
    return Row(
        name=name,
        before="–" if before is None else write(before),
        after="–" if after is None else write(after),
        change="" if ratio is None else ratio_text(ratio),
        ratio=ratio,
        headline=headline,
    )


def _latency_row(after: Latency, report: Report) -> Row:
    before = next((entry.p50 for entry in report.baseline.latency if entry.place == after.place), None)
    place = after.device or after.target or "device"
    ratio = before / after.p50 if before and after.p50 else None
    return Row(
        name=f"latency, {after.label}",
        before=milliseconds_text(before),
        after=milliseconds_text(after.p50),
        change="" if ratio is None else ratio_text(ratio),
        ratio=ratio,
        headline=f"faster, {after.kind} ({place})",
    )
