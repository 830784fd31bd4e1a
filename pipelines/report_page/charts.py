"""The pictures of numbers: a funnel, columns, a curve."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipelines.report_page.accounts import Equation
from pipelines.report_page.svg import Svg, element, figure, rect, text
from pipelines.report_page.words import number, percent, shown

_WIDTH = 960
_LEFT, _BAR = 110, 400  # where bars begin, and how long the longest is
_REASON, _REASON_BAR = 540, 80
_ROW = 17
_MOST_REASONS = 12  # beside a bar; the table above has all


def funnel(equations: Sequence[Equation]) -> Svg:
    """Return one bar per stage, and beside it what took rows away."""
    longest = max([1, *(equation.line.into for equation in equations)])
    parts: list[Svg] = []
    y = 4
    for equation in equations:
        parts += _stage(equation, y, longest)
        rows = min(len(equation.reasons), _MOST_REASONS + 1)
        y += max(3 * _ROW, rows * _ROW) + 14
    return figure(_WIDTH, y, "rows that each stage took in and put out", *parts)


def _stage(equation: Equation, y: int, longest: int) -> Iterable[Svg]:
    line = equation.line
    kept = percent(line.out, line.into)
    yield text(_LEFT - 10, y + 17, shown(line.stage, 20), "strong", "end")
    for count, name in ((line.into, "into"), (line.out, "out")):
        yield rect(_LEFT, y, max(0.0, _BAR * count / longest), 26, name)
    label = f"{number(line.into)} {equation.into}, {number(line.out)} {equation.out} ({kept})"
    yield text(_LEFT, y + 26 + _ROW, label)
    for place, (reason, count) in enumerate(equation.reasons):
        if place == _MOST_REASONS:
            more = len(equation.reasons) - place
            yield text(_REASON, y + place * _ROW + 12, f"and {more} more")
            return
        yield from _reason(reason, count, line.into, y + place * _ROW)


def _reason(reason: str, count: int, into: int, y: int) -> Iterable[Svg]:
    share = min(1.0, max(0.0, count / into)) if into else 0.0
    yield rect(_REASON, y + 2, _REASON_BAR, 11, "rail")
    yield rect(_REASON, y + 2, max(1.0, _REASON_BAR * share), 11, "lost")
    label = f"{shown(reason, 32)} {number(count)} ({percent(count, into)})"
    yield text(_REASON + _REASON_BAR + 8, y + 12, label)


def columns(label: str, counts: Sequence[tuple[str, int]]) -> Svg:
    """Return a column for each name."""
    height, step = 120, 38
    most = max([1, *(count for _, count in counts)])
    parts: list[Svg] = []
    for place, (name, count) in enumerate(counts):
        x, tall = place * step, height * count / most
        title = f"{name}: {number(count)}"
        parts.append(rect(x + 3, height - tall + 16, step - 6, tall, "out", title))
        parts.append(text(x + step / 2, height - tall + 12, _short(count), "small", "middle"))
        parts.append(text(x + step / 2, height + 30, name, "small", "middle"))
    return figure(max(1, len(counts)) * step, height + 36, label, *parts)


def _short(count: int) -> str:
    """Return a count as a narrow column has room for it."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count or "")


Point = tuple[float, float]


def curve(label: str, thin: Sequence[Point], thick: Sequence[Point], dots: Sequence[Point]) -> Svg:
    """Return values over steps: as they were, smoothed, and single ones; all are finite."""
    width, height, left, bottom = 960, 260, 60, 24
    points = [*thin, *thick, *dots]
    if not points:
        return figure(width, 40, label, text(left, 24, "no finite value"))
    low_x, high_x = _bounds([x for x, _ in points])
    low, high = _bounds([y for _, y in points])

    def place(point: Point) -> Point:
        x = left + (width - left - 10) * (point[0] - low_x) / (high_x - low_x)
        return x, 10 + (height - bottom - 10) * (high - point[1]) / (high - low)

    grid = [low + (high - low) * part / 4 for part in range(5)]
    parts: list[Svg] = []
    for value in grid:
        _, y = place((low_x, value))
        parts.append(element("line", x1=left, x2=width - 10, y1=y, y2=y, class_="grid"))
        parts.append(text(left - 6, y + 4, f"{value:.3g}", "small", "end"))
    parts.append(text(left, height - 4, f"step {low_x:g}", "small"))
    parts.append(text(width - 10, height - 4, f"step {high_x:g}", "small", "end"))
    for curve, name in ((thin, "thin"), (thick, "thick")):
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, curve))
        parts.append(element("polyline", points=drawn, class_=name))
    for x, y in map(place, dots):
        parts.append(element("circle", cx=x, cy=y, r=4, class_="dot"))
    return figure(width, height, label, *parts)


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
