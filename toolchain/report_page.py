"""The report as one self-contained HTML page: inline style and SVG, no script, nothing fetched.

Every text that comes from a file or a name passes through `_e`, so that nothing in a report can become markup.
"""

from collections.abc import Iterable, Sequence
from html import escape

from .output import count_text, milliseconds_text, percent_text
from .report_charts import ROUND_COLOURS, Point, histogram, scatter, shown_limit
from .report_schema import Figures, KernelTime, Latency, Layer, Report
from .report_style import STYLE
from .report_values import COST_NAMES, Row, comparison_rows, constraint_rows, cost_text


def render(report: Report) -> str:
    """Return the page."""
    sections = [
        _comparison(report),
        _search(report),
        _layers(report),
        _kernels(report),
        _latency(report),
        _predictions(report),
        _not_runnable(report),
        _equality(report),
        _frozen(report),
        _origin(report),
    ]
    body = _head(report) + "".join(section for section in sections if section)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_e(report.title)} – act report</title><style>{STYLE}</style></head>\n"
        f"<body><main>{body}<footer>Written by act {_e(report.act_version)}. This page is one file and needs no network"
        ".</footer></main></body></html>\n"
    )


def _e(value: object) -> str:
    return escape(str(value), quote=True)


def _section(title: str, *content: str, note: str = "") -> str:
    """A card; empty where it has no content."""
    inside = "".join(content)
    if not inside:
        return ""
    explained = f'<p class="note">{note}</p>' if note else ""
    return f"<section><h2>{_e(title)}</h2>{explained}{inside}</section>\n"


def _table(headings: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """A table of ready-made cells; a heading is (text, class), a cell is `<td>…</td>`."""
    head = "".join(f'<th class="{style}">{_e(text)}</th>' for text, style in headings)
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: object, style: str = "") -> str:
    return f'<td class="{style}">{_e(value)}</td>' if style else f"<td>{_e(value)}</td>"


def _tag(good: bool, text: str) -> str:
    return f'<span class="tag {"good" if good else "bad"}">{"✓" if good else "✗"} {_e(text)}</span>'


def _head(report: Report) -> str:
    target = report.target.get("name", "")
    facts = [
        f"for {target}" if target else "",
        f"{report.granularity} pruning" if report.granularity else "",
        f"objective {report.objective}",
        "" if report.seed is None else f"seed {report.seed}",
        report.created.replace("T", " ").replace("+00:00", " UTC"),
    ]
    line = "".join(f"<span>{_e(fact)}</span>" for fact in facts if fact)
    return (
        f'<header><p class="kicker">act · {_e(report.run) or "run"}</p><h1>{_e(report.title)}</h1>'
        f'<p class="facts">{line}</p></header>{_tiles(report)}{_verdict(report)}'
    )


def _tiles(report: Report) -> str:
    tiles = [_ratio_tile(row) for row in comparison_rows(report) if row.headline and row.ratio is not None]
    before, after = report.baseline.accuracy_top1, report.result.accuracy_top1
    if before is not None and after is not None:
        change = after - before
        sign = "+" if change > 0 else "−" if change < 0 else "±"
        detail = f"{percent_text(before)} → {percent_text(after)}"
        tiles.append(_tile(f"{sign}{abs(change):.2f}", "", "points of test accuracy", detail))
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _ratio_tile(row: Row) -> str:
    return _tile(f"{row.ratio:.3g}", "×", row.headline, f"{row.before} → {row.after}")


def _tile(figure: str, unit: str, what: str, detail: str) -> str:
    return (
        f'<div class="tile"><b>{_e(figure)}<small> {_e(unit)}</small></b><div class="what">{_e(what)}</div>'
        f'<div class="from">{_e(detail)}</div></div>'
    )


def _verdict(report: Report) -> str:
    met = report.constraint.met
    if met is None:
        return ""
    parts = "".join(f"<span>{_e(text)}</span>" for text in constraint_rows(report.constraint))
    title = "✓ Constraint met" if met else "✗ Constraint not met"
    return f'<div class="verdict {"met" if met else "missed"}"><strong>{title}</strong>{parts}</div>'


def _comparison(report: Report) -> str:
    headings = (("", ""), ("before", "n"), ("after", "n"), ("ratio", "n"))
    rows = [
        (
            _cell(row.name.strip(), "sub" if row.name.startswith(" ") else ""),
            _cell(row.before, "n"),
            _cell(row.after, "n strong"),
            _cell(row.change, "n soft"),
        )
        for row in comparison_rows(report)
    ]
    reference = (
        f"The accuracy drop is taken against {_e(report.baseline.reference)}" if report.baseline.reference else ""
    )
    note = reference + ("." if reference and not reference.endswith(".") else "")
    return _section("Before and after", _table(headings, rows), note=note)


def _search(report: Report) -> str:
    cost_name = COST_NAMES.get(report.objective, report.objective)
    if report.objective == "latency" and report.device is not None:
        cost_name = f"sum of kernels measured on {report.device}, ms"
    trials = [
        _point(trial.cost, trial.accuracy, f"round {trial.number}, trial {trial.index}", trial.number, report.objective)
        for trial in report.trials
    ]
    rounds = [
        _point(
            item.cost(report.objective),
            item.search_accuracy_top1,
            f"round {item.number}" + ("" if item.accepted else ", not accepted"),
            item.number,
            report.objective,
            accepted=item.accepted,
        )
        for item in report.rounds
    ]
    fronts = [
        _point(point.cost, point.accuracy, f"round {point.number}, on the front", point.number, report.objective)
        for point in report.pareto
    ]
    dots, path = [p for p in trials if p], [p for p in rounds if p]
    if not dots and not path:
        return ""
    ends = (
        _end_point(report, report.baseline, report.baseline_cost(), "dense network"),
        _end_point(report, report.result, report.result_cost(), "result"),
    )
    chart = scatter(dots, path, *ends, cost_name=cost_name, front=[point for point in fronts if point])
    note = (
        "Accuracy on the search part of the data against cost. Small dots are candidates, judged before any "
        "retraining; numbered marks are the rounds, retrained. The dashed line joins those that no other beats."
    )
    return _section("Search", chart, _legend(sorted({point.group for point in dots})), note=note)


def _legend(rounds: Sequence[int]) -> str:
    names = [(f"c{(number - 1) % ROUND_COLOURS + 1}", f"candidates of round {number}") for number in rounds]
    names += [("dash", "Pareto front"), ("ring", "dense network"), ("full", "result")]
    return '<p class="legend">' + "".join(f'<span><u class="{c}"></u>{_e(text)}</span>' for c, text in names) + "</p>"


def _end_point(report: Report, figures: Figures, cost: float | None, label: str) -> Point | None:
    return _point(cost, figures.search_accuracy_top1, label, 0, report.objective)


def _point(
    cost: float | None, accuracy: float | None, name: str, group: int, objective: str, *, accepted: bool = True
) -> Point | None:
    if cost is None or accuracy is None or cost <= 0:
        return None
    label = f"{name}: {accuracy:.2f} %, {cost_text(cost, objective)}"
    return Point(cost=cost, accuracy=accuracy, label=label, group=group, accepted=accepted)


def _layers(report: Report) -> str:
    headings = (("layer", ""), ("kind", ""), ("filters kept", "bars"), ("columns kept", "bars"), ("MACs", "n"))
    rows = [_layer_row(layer) for layer in report.layers]
    note = "Filters are outputs of a layer, columns the inputs that each of its filters reads. Grey: nothing removed."
    return _section("Layers", _table(headings, rows) if rows else "", note=note)


def _layer_row(layer: Layer) -> tuple[str, ...]:
    return (
        _cell(layer.name, "name"),
        _cell(layer.kind, "soft"),
        _kept_bar(layer.filters_after, layer.filters_before, ""),
        _kept_bar(layer.columns_after, layer.columns_before, "columns"),
        _cell(f"{count_text(layer.macs_before)} → {count_text(layer.macs_after)}", "n"),
    )


def _kept_bar(after: int, before: int, style: str) -> str:
    style = "whole" if after == before else style
    return _bar(after / max(before, 1), f"{after} / {before}", style)


def _bar(share: float, text: str, style: str) -> str:
    width = f"{100 * min(max(share, 0.0), 1.0):.1f}%"
    return (
        f'<td class="bars"><div class="bar {style}"><i style="--share:{width}"></i><span>{_e(text)}</span></div></td>'
    )


def _kernels(report: Report) -> str:
    if not report.kernels:
        return ""
    with_measured = any(kernel.measured_us is not None for kernel in report.kernels)
    target = report.target.get("name", "the target")
    headings = [("kernel", ""), (f"modelled on {target}, µs", "bars")]
    if with_measured:
        headings.append((f"measured on {_measured_device(report)}, µs", "bars"))
    headings.append(("lowering and tile", "wrap"))
    most = [_longest(report.kernels, "modelled_us"), _longest(report.kernels, "measured_us")]
    rows = [_kernel_row(kernel, most, with_measured) for kernel in report.kernels]
    note = "In the order of execution. Each column has a scale of its own: the model and a device are never compared."
    return _section("Where the milliseconds go", _table(headings, rows), note=note if with_measured else "")


def _kernel_row(kernel: KernelTime, most: Sequence[float], with_measured: bool) -> list[str]:
    name = kernel.source_operator or kernel.name
    cells = [f'<td class="name" title="{_e(kernel.name)}">{_e(name)}</td>']
    cells.append(_time_bar(kernel.modelled_us, most[0], "plain"))
    if with_measured:
        cells.append(_time_bar(kernel.measured_us, most[1], "plain measured"))
    reason = f'<span class="soft">{_e(kernel.reason)}</span>'
    tile = f'<br>{_e(kernel.tile)} <span class="soft">{_e(kernel.tile_reason)}</span>' if kernel.tile else ""
    return [*cells, f'<td class="wrap">{_e(kernel.lowering)} {reason}{tile}</td>']


def _time_bar(value: float | None, most: float, style: str) -> str:
    return _bar((value or 0.0) / most, "–" if value is None else f"{value:.1f}", style)


def _longest(kernels: Sequence[KernelTime], name: str) -> float:
    return max([getattr(kernel, name) or 0.0 for kernel in kernels] + [1e-9])


def _measured_device(report: Report) -> str:
    return next((entry.device or "" for entry in report.result.latency if entry.kind == "measured"), "the device")


def _latency(report: Report) -> str:
    measured = [entry for entry in report.result.latency if len(entry.samples_ms) > 1]
    return _section("Measured latency of the result", *(_latency_figure(entry) for entry in measured))


def _latency_figure(entry: Latency) -> str:
    name = f"{entry.device_name} ({entry.device})" if entry.device_name else entry.device or ""
    facts = [f"{len(entry.samples_ms)} runs on {name}", f"batch {entry.batch}", entry.precision]
    facts += [f"p50 {milliseconds_text(entry.p50)}", f"p90 {milliseconds_text(entry.p90)}"]
    slower = sum(value > shown_limit(entry.samples_ms, entry.p90) for value in entry.samples_ms)
    if slower:
        facts.append(f"{slower} slower runs, up to {milliseconds_text(max(entry.samples_ms))}, in the last bar")
    caption = " · ".join(facts)
    state = f"<figcaption>device state: {_e(_flat(entry.state))}</figcaption>" if entry.state else ""
    disturbed = f"<figcaption>disturbed: {_e(entry.disturbance)}</figcaption>" if entry.flags else ""
    chart = histogram(entry.samples_ms, entry.p50, entry.p90)
    return f"<figure>{chart}<figcaption>{_e(caption)}</figcaption>{disturbed}{state}</figure>"


def _predictions(report: Report) -> str:
    headings = (
        ("network", ""),
        ("predicted", "n"),
        ("measured", "n"),
        ("error", "n"),
        ("its kernels", "n"),
        ("on", ""),
    )
    rows = [
        (
            _cell(item.name),
            _cell(milliseconds_text(item.predicted_ms), "n"),
            _cell(milliseconds_text(item.measured_ms), "n strong"),
            _cell("–" if item.relative_error is None else f"{100 * item.relative_error:+.1f} %", "n"),
            _cell(milliseconds_text(item.kernels_ms), "n soft"),
            _cell(item.problem or item.device, "soft"),
        )
        for item in report.predictions
    ]
    note = (
        "The search adds up the kernels of each layer, measured apart. Here whole networks were measured, from end to "
        "end: the error is that of the sum. Its kernels: their sum within the whole network, without what lies between."
    )
    return _section("Predicted and measured", _table(headings, rows) if rows else "", note=note)


def _not_runnable(report: Report) -> str:
    rows = [(_cell(item.text, "name"), _cell(item.problem, "soft")) for item in report.not_runnable]
    note = "The search went around these: what cannot run has no latency."
    table = _table((("layer", ""), ("why", "")), rows) if rows else ""
    return _section("Layers that the device cannot run", table, note=note)


def _equality(report: Report) -> str:
    headings = (("the same network, twice", ""), ("difference", "n"), ("allowed", "n"), ("", "n"))
    rows = [
        (
            _cell(link.pair),
            _cell("–" if link.difference is None else f"{link.difference:.1e}", "n strong"),
            _cell(f"{link.tolerance:.0e}", "n soft"),
            f'<td class="n">{_tag(link.passed, "equal" if link.passed else "differs")}</td>',
        )
        for link in report.equality
    ]
    note = "The largest difference of any output, relative to the largest output, on random and on real inputs."
    return _section("Equality chain", _table(headings, rows) if rows else "", note=note)


def _frozen(report: Report) -> str:
    rows = [(_cell(item.layer, "name"), _cell(item.reason, "soft")) for item in report.frozen]
    return _section("Layers left as they are", _table((("layer", ""), ("why", "")), rows) if rows else "")


def _origin(report: Report) -> str:
    facts: dict[str, object] = {"data": report.data.get("description"), "target": report.target.get("description")}
    if report.network.get("arguments"):
        facts["network"] = f"{report.network.get('name', '')}({_flat(report.network['arguments'])})"
    facts |= {name.replace("_", " "): _flat(value) for name, value in report.environment.items()}
    facts |= {f"file: {name}": _flat(value) for name, value in report.files.items()}
    listed = "".join(f"<dt>{_e(name)}</dt><dd>{_e(value)}</dd>" for name, value in facts.items() if value)
    command = f"<pre>{_e(report.command)}</pre>" if report.command else ""
    return _section("How it was made", command, f"<dl>{listed}</dl>" if listed else "")


def _flat(value: object) -> str:
    """Write a small JSON value on one line."""
    if isinstance(value, dict):
        nested = any(isinstance(item, dict) for item in value.values())
        parts = [f"{str(key).replace('_', ' ')}{':' if nested else ''} {_flat(item)}" for key, item in value.items()]
        return ("; " if nested else ", ").join(parts)
    if isinstance(value, list | tuple):
        return ", ".join(_flat(item) for item in value)
    return "" if value is None else str(value)


__all__ = ["render"]
