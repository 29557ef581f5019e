"""Charts as numbers: where each point, line and label lies. The template `charts.html.j2` draws them as SVG in the page's own colours.

matplotlib's SVG was weighed: it is 20 to 60 kB a chart, has no dark form, and its letters shrink with the screen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 24.0, 8.0, 24.0
"""Room for labels around a line chart, in its own units."""


@dataclass(frozen=True)
class Bounded:
    """A value with an interval; both bounds are None where it has none."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, ...]:
        """All numbers that a chart has to hold."""
        return tuple(end for end in (self.value, self.low, self.high) if end is not None)


@dataclass(frozen=True)
class Mark:
    """One value on the page: places along an axis, of the value and of its interval's bounds."""

    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Forest:
    """Several values on one axis, in per cent of its width; `zero` is the place of 0."""

    marks: tuple[Mark, ...]
    zero: float
    low: float
    high: float


def forest(values: Sequence[Bounded]) -> Forest:
    """A forest plot: every interval and 0 lie within the axis, which is as long to the left of 0 as to the right."""
    reach = max((abs(end) for value in values for end in value.ends), default=0.0) * 1.08 or 1.0

    def place(value: float | None) -> float | None:
        return None if value is None else round(50 + 50 * value / reach, 2)

    marks = tuple(Mark(place(value.value) or 0.0, place(value.low), place(value.high)) for value in values)
    return Forest(marks, 50.0, -reach, reach)


@dataclass(frozen=True)
class Tick:
    """A label beside an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Point:
    """One point of a line; `low` and `high` are the ends of its interval, `label` says it in words."""

    x: float
    y: float
    low: float | None
    high: float | None
    label: str


@dataclass(frozen=True)
class Line:
    """One named line; `path` is for an SVG polyline."""

    name: str
    points: tuple[Point, ...]

    @property
    def path(self) -> str:
        """`x,y` of the points."""
        return " ".join(f"{point.x:g},{point.y:g}" for point in self.points)


@dataclass(frozen=True)
class Chart:
    """Lines over numbered places."""

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    zero: float | None


def line_chart(
    series: Mapping[str, Sequence[tuple[float, Bounded]]],
    x_labels: Mapping[float, str],
    low: float | None = None,
    high: float | None = None,
) -> Chart | None:
    """A line for each name, through (x, value) pairs; None without any. `low` and `high` are in the chart at least.

    `x_labels` names some places; at most six are written.
    """
    shown = {name: points for name, points in series.items() if points}
    ends = [end for points in shown.values() for _, value in points for end in value.ends]
    if not ends:
        return None
    marks = ticks(min([*ends, *([] if low is None else [low])]), max([*ends, *([] if high is None else [high])]))
    xs = [x for points in shown.values() for x, _ in points]
    x_low, x_span = min(xs), (max(xs) - min(xs)) or 1.0
    y_low, y_span = marks[0], marks[-1] - marks[0]

    def x_place(x: float) -> float:
        share = 0.5 if min(xs) == max(xs) else (x - x_low) / x_span
        return round(LEFT + 6 + share * (WIDTH - LEFT - RIGHT - 12), 1)

    def y_place(y: float) -> float:
        return round(HEIGHT - BOTTOM - (y - y_low) / y_span * (HEIGHT - TOP - BOTTOM), 1)

    def point(x: float, value: Bounded) -> Point:
        low, high = (None if end is None else y_place(end) for end in (value.low, value.high))
        return Point(x_place(x), y_place(value.value), low, high, f"{x_labels.get(x, f'{x:g}')}: {value.value:.3f}")

    named = [x for x in sorted(x_labels) if x_low <= x <= x_low + x_span]
    step = math.ceil(len(named) / 6) or 1
    return Chart(
        tuple(Line(name, tuple(point(x, value) for x, value in points)) for name, points in shown.items()),
        tuple(Tick(x_place(x), x_labels[x]) for x in named[::step]),
        tuple(Tick(y_place(mark), f"{mark:.3g}") for mark in marks),
        y_place(0.0) if marks[0] < 0 < marks[-1] else None,
    )


def ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers, equally far apart, from at most `low` to at least `high`."""
    span = high - low or abs(high) or 1.0
    raw = span / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= raw * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(place * step, 12) for place in range(first, last + 1)]
