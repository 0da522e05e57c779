"""The report's charts as inline SVG: no script, colours from the page's style, every text escaped."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 960
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 24, 30, 46
ROUND_COLOURS = 6


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A linear or logarithmic axis from `low` to `high` over pixels `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of `value`, kept inside the axis."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 6) -> list[float]:
        """Return round values on the axis, about `count` of them."""
        return _log_ticks(self.low, self.high) if self.logarithmic else _linear_ticks(self.low, self.high, count)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One mark of the scatter: `group` is the round, `label` the tooltip."""

    cost: float
    accuracy: float
    label: str
    group: int = 0
    accepted: bool = True


def scatter(
    trials: Sequence[Point],
    path: Sequence[Point],
    baseline: Point | None,
    result: Point | None,
    *,
    cost_name: str,
    front: Sequence[Point] = (),
) -> str:
    """Accuracy against cost: candidates, their Pareto front, and the path of rounds from the dense network.

    Args:
        trials: Candidates of the search.
        path: Rounds in order.
        baseline: The dense network.
        result: The final network.
        cost_name: Title of the cost axis, with unit.
        front: Candidates that a search recorded as its Pareto front; marked, and joined in place of the trials' own.
    """
    ends = [point for point in (baseline, result) if point is not None]
    every = [*trials, *front, *path, *ends]
    if not every:
        return ""
    height = 400
    x, y = _scatter_axes(every, height)
    parts = [_grid(x, y, height, cost_name, "search accuracy, %", y_limit=100)]
    parts += [_dot(x, y, point, 3.4, f"trial c{(point.group - 1) % ROUND_COLOURS + 1}") for point in trials]
    parts += [_dot(x, y, point, 4.6, "on-front") for point in front]
    parts.append(_step_line(x, y, pareto_front(front or trials)))
    accepted = [point for point in path if point.accepted]
    chain = [*([baseline] if baseline else []), *accepted, *([result] if result else [])]
    parts.append(_polyline(x, y, chain, "path"))
    parts += [_round_mark(x, y, point) for point in path]
    if baseline is not None:
        parts.append(_end_mark(x, y, baseline, "baseline", "dense"))
    if result is not None:
        parts.append(_end_mark(x, y, result, "result", "result"))
    return _svg(height, f"Search accuracy against {cost_name}", parts)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in both cost and accuracy, by cost."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def histogram(samples: Sequence[float], p50: float | None, p90: float | None) -> str:
    """Latency histogram in milliseconds; runs far beyond p90 are gathered in the last bin, so that the rest is seen."""
    if len(samples) < 2:
        return ""
    ordered = sorted(samples)
    low = ordered[0]
    high = max(min(ordered[-1], shown_limit(samples, p90)), low * 1.001 + 1e-9)
    bins = max(8, min(48, round(math.sqrt(len(ordered)) * 2)))
    counts = [0] * bins
    for value in ordered:
        counts[min(bins - 1, int((value - low) / (high - low) * bins))] += 1
    height = 240
    x = Axis(low=low, high=high, start=_LEFT, end=WIDTH - _RIGHT)
    y = Axis(low=0, high=max(counts) * 1.18, start=height - _BOTTOM, end=_TOP)
    parts = [_grid(x, y, height, "ms", "runs", y_ticks=4)]
    step = (WIDTH - _RIGHT - _LEFT) / bins
    for index, count in enumerate(counts):
        if count:
            edge = low + index * (high - low) / bins
            title = f"{count} runs from {edge:.4g} ms" + (" on" if index == bins - 1 else "")
            parts.append(
                f'<rect class="bin" x="{_LEFT + index * step + 0.75:.1f}" y="{y(count):.1f}" width="{step - 1.5:.1f}" '
                f'height="{y(0) - y(count):.1f}" rx="1.5"><title>{title}</title></rect>'
            )
    # On opposite sides of their lines, so that close percentiles stay readable.
    for name, latency, anchor in (("p50", p50, "end"), ("p90", p90, "start")):
        if latency is not None:
            parts.append(_marker(x(latency), height, f"{name} {latency:.3g} ms", anchor))
    return _svg(height, "Latency histogram", parts)


def shown_limit(samples: Sequence[float], p90: float | None) -> float:
    """Return where the axis ends: a disturbed machine has single runs many times slower than the median."""
    ordered = sorted(samples)
    median = ordered[len(ordered) // 2]
    return max(p90 or median, median + 4 * (median - ordered[0])) * 1.08


def _scatter_axes(points: Sequence[Point], height: int) -> tuple[Axis, Axis]:
    costs = [point.cost for point in points if point.cost > 0] or [1.0]
    low, high = min(costs), max(costs)
    margin = (high / low) ** 0.06 if high > low else 1.3
    accuracies = [point.accuracy for point in points]
    span = max(max(accuracies) - min(accuracies), 1.0)
    bottom, top = max(0.0, min(accuracies) - 0.06 * span), max(accuracies) + 0.12 * span
    x = Axis(low=low / margin, high=high * margin, start=_LEFT, end=WIDTH - _RIGHT, logarithmic=True)
    return x, Axis(low=bottom, high=top, start=height - _BOTTOM, end=_TOP)


def _grid(
    x: Axis, y: Axis, height: int, x_name: str, y_name: str, *, y_ticks: int = 6, y_limit: float = math.inf
) -> str:
    parts = []
    for value in y.ticks(y_ticks):
        if value > y_limit:
            continue
        at = y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 9}" y="{at + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    bottom = height - _BOTTOM
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    for value in x.ticks():
        at = x(value)
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{bottom}" y2="{bottom + 5}"/>')
        parts.append(f'<text class="tick" x="{at:.1f}" y="{bottom + 19}" text-anchor="middle">{_number(value)}</text>')
    parts.append(f'<text class="name" x="{WIDTH - _RIGHT}" y="{height - 5}" text-anchor="end">{escape(x_name)}</text>')
    parts.append(f'<text class="name" x="{_LEFT - 48}" y="{_TOP - 17}">{escape(y_name)}</text>')
    return "".join(parts)


def _dot(x: Axis, y: Axis, point: Point, radius: float, style: str) -> str:
    return (
        f'<circle class="{style}" cx="{x(point.cost):.1f}" cy="{y(point.accuracy):.1f}" r="{radius}">'
        f"<title>{escape(point.label)}</title></circle>"
    )


def _step_line(x: Axis, y: Axis, front: Sequence[Point]) -> str:
    if len(front) < 2:
        return ""
    path = [f"M{x(front[0].cost):.1f} {y(front[0].accuracy):.1f}"]
    path += [f"H{x(point.cost):.1f}V{y(point.accuracy):.1f}" for point in front[1:]]
    return f'<path class="front" d="{"".join(path)}"/>'


def _polyline(x: Axis, y: Axis, points: Sequence[Point], style: str) -> str:
    if len(points) < 2:
        return ""
    places = " ".join(f"{x(point.cost):.1f},{y(point.accuracy):.1f}" for point in points)
    return f'<polyline class="{style}" points="{places}"/>'


def _round_mark(x: Axis, y: Axis, point: Point) -> str:
    style = f"round c{(point.group - 1) % ROUND_COLOURS + 1}" + ("" if point.accepted else " rejected")
    place = f'x="{x(point.cost):.1f}" y="{y(point.accuracy) + 4:.1f}"'
    number = f'<text class="inside" {place} text-anchor="middle">{point.group}</text>'
    return _dot(x, y, point, 10, style) + number


def _end_mark(x: Axis, y: Axis, point: Point, style: str, text: str) -> str:
    at = x(point.cost)
    anchor, shift = ("end", 8) if at > WIDTH / 2 else ("start", -8)
    label = f'<text class="label" x="{at + shift:.1f}" y="{y(point.accuracy) - 17:.1f}" text-anchor="{anchor}">'
    return _dot(x, y, point, 7, style) + f"{label}{escape(text)} {point.accuracy:.2f} %</text>"


def _marker(at: float, height: int, text: str, anchor: str) -> str:
    if at < _LEFT + 90:
        anchor = "start"
    if at > WIDTH - _RIGHT - 90:
        anchor = "end"
    shift = 6 if anchor == "start" else -6
    return (
        f'<line class="marker" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>'
        f'<text class="label" x="{at + shift:.1f}" y="{_TOP + 10}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<div class="scroll"><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg></div>"
    )


def _linear_ticks(low: float, high: float, count: int) -> list[float]:
    rough = (high - low) / max(count, 1)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [factor * 10.0**decade for decade in decades for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 4:
            return ticks
    return _linear_ticks(low, high, 5)


def _number(value: float) -> str:
    """Write an axis value shortly: `0.25`, `40`, `200 k`, `4 M`."""
    for limit, suffix in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if suffix == ' k' else limit):.3g}{suffix}"
    return f"{value:.4g}"
