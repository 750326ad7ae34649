"""Curves → inline SVG: a line chart with axes, ticks and a legend, drawn without any library.

Colours come from the CSS variables `--series-1` … `--series-8` of the page, text and grid from its
`currentColor`, so one drawing serves light and dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

# Okabe and Ito (2008), yellow left out: it cannot be read as a line on white.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#882255", "#7850dc")

WIDTH, HEIGHT = 500, 260  # HEIGHT is without the legend, which grows with its names
LEFT, RIGHT, BOTTOM = 56, 12, 44
LEGEND_LINE = 18
CHARACTER = 6.6  # pixels a character of the 12 pixel font takes, on the safe side
MAX_POINTS = 160  # of a drawn line; longer series are drawn as means of neighbours
MARKED_POINTS = 40  # lines of at most so many points show each point, with its value on hover


@dataclass(frozen=True, kw_only=True)
class Series:
    """One named line. Values that are not finite are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False
    label: str | None = None  # in the legend; None: name and last value


@dataclass(frozen=True)
class Axis:
    """A range of values, linear or logarithmic, with its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def position(self, value: float) -> float:
        """Where the value lies: 0 at the low end, 1 at the high end."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_y: bool = False,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> str:
    """An `<svg>` element of all series over one pair of axes.

    A range fixes its axis, otherwise the values do. With `log_y` only positive values are drawn.
    """
    lines = [(line, _points(line, positive=log_y)) for line in series]
    values = [point for _, points in lines for point in points]
    if not values:
        return _svg(title, HEIGHT, [_text(WIDTH / 2, HEIGHT / 2, "no values yet", "middle")])
    x_axis = linear_axis(*(x_range or _range(x for x, _ in values)), snap=False)
    low, high = y_range or _range(y for _, y in values)
    y_axis = log_axis(low, high) if log_y else linear_axis(low, high, snap=y_range is None)
    legend, top = _legend(lines)
    frame = _Frame(x_axis=x_axis, y_axis=y_axis, top=top, bottom=top + HEIGHT - BOTTOM)
    parts = [*_grid(frame, x_label, y_label), *legend]
    for number, (line, points) in enumerate(lines):
        parts += _line(frame, number, line, points)
    return _svg(title, frame.bottom + BOTTOM, parts)


def linear_axis(low: float, high: float, *, snap: bool) -> Axis:
    """An axis with ticks at 1, 2 or 5 times a power of ten; `snap` widens it to the next ticks."""
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-300):
        margin = abs(low) / 2 or 1.0
        low, high = low - margin, high + margin
    step = _nice_step((high - low) / 5)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if snap:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        low, high = first * step, last * step
    return Axis(low, high, tuple(number * step for number in range(first, last + 1)))


def log_axis(low: float, high: float) -> Axis:
    """A logarithmic axis from tick to tick: powers of ten, if few with 2 and 5 times these too."""
    decades = math.log10(high / low)
    multiples = (1,) if decades > 3 else (1, 2, 5)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [m * 10.0**power for power in range(first, last + 1) for m in multiples]
    below = max(tick for tick in ticks if tick <= low * (1 + 1e-9))
    above = min((tick for tick in ticks if tick >= high * (1 - 1e-9)), default=ticks[-1])
    if above <= below:
        above = ticks[ticks.index(below) + 1]
    inside = tuple(tick for tick in ticks if below <= tick <= above)
    return Axis(below, above, inside, logarithmic=True)


def format_number(value: float) -> str:
    """The number as briefly as a tick or a legend wants it."""
    if value == 0:
        return "0"
    for unit, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * unit or (unit == 1e6 and abs(value) >= unit):
            return f"{value / unit:.3g}{suffix}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 0.01:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """The rectangle the lines are drawn in."""

    x_axis: Axis
    y_axis: Axis
    top: float
    bottom: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        """The point's place in the drawing; values beyond the vertical axis lie on its end."""
        right = LEFT + self.x_axis.position(x) * (WIDTH - LEFT - RIGHT)
        share = min(max(self.y_axis.position(y), 0.0), 1.0)
        return right, self.bottom - share * (self.bottom - self.top)


def _range(values: Iterable[float]) -> tuple[float, float]:
    collected = list(values)
    return min(collected), max(collected)


def _nice_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))


def _points(line: Series, *, positive: bool) -> list[tuple[float, float]]:
    """The line's finite points, neighbours averaged where there are more than can be seen."""
    points = [
        (float(x), float(y))
        for x, y in zip(line.x, line.y, strict=True)
        if math.isfinite(x) and math.isfinite(y) and (y > 0 or not positive)
    ]
    width = math.ceil(len(points) / MAX_POINTS)
    if width <= 1:
        return points
    groups = [points[start : start + width] for start in range(0, len(points), width)]
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


def _legend(lines: list[tuple[Series, list[tuple[float, float]]]]) -> tuple[list[str], float]:
    """The legend's elements, and where the drawing can begin."""
    parts: list[str] = []
    x, y = float(LEFT), 12.0
    for number, (line, points) in enumerate(lines):
        label = f"{line.name} {format_number(points[-1][1])}" if points else line.name
        label = label if line.label is None else line.label
        width = 26 + CHARACTER * len(label) + 10
        if x + width > WIDTH and x > LEFT:
            x, y = float(LEFT), y + LEGEND_LINE
        stroke = _stroke(number, dashed=line.dashed)
        parts.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x + 20:.1f}" y2="{y:.1f}" {stroke}/>')
        parts.append(_text(x + 26, y + 4, label, "start"))
        x += width
    return parts, y + 16


def _grid(frame: _Frame, x_label: str, y_label: str) -> list[str]:
    parts = []
    for tick in frame.y_axis.ticks:
        _, y = frame.place(frame.x_axis.low, tick)
        parts.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" '
            'stroke="currentColor" stroke-opacity="0.15"/>'
        )
        parts.append(_text(LEFT - 8, y + 4, format_number(tick), "end"))
    for tick in frame.x_axis.ticks:
        x, _ = frame.place(tick, frame.y_axis.low)
        parts.append(
            f'<line x1="{x:.1f}" y1="{frame.bottom:.1f}" x2="{x:.1f}" y2="{frame.bottom + 5:.1f}" '
            'stroke="currentColor" stroke-opacity="0.5"/>'
        )
        parts.append(_text(x, frame.bottom + 19, format_number(tick), "middle"))
    parts.append(
        f'<line x1="{LEFT}" y1="{frame.bottom:.1f}" x2="{WIDTH - RIGHT}" y2="{frame.bottom:.1f}" '
        'stroke="currentColor" stroke-opacity="0.5"/>'
    )
    middle = (frame.top + frame.bottom) / 2
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, frame.bottom + 38, x_label, "middle"))
    turned = f'transform="rotate(-90 12 {middle:.1f})"'
    parts.append(_text(12, middle, y_label, "middle", turned))
    return parts


def _line(frame: _Frame, number: int, line: Series, points: list[tuple[float, float]]) -> list[str]:
    places = [frame.place(x, y) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline points="{path}" fill="none" {_stroke(number, dashed=line.dashed)}/>']
    if len(points) <= MARKED_POINTS and not line.dashed:
        for (x, y), (place_x, place_y) in zip(points, places, strict=True):
            note = escape(f"{line.name}: {format_number(y)} at {format_number(x)}")
            parts.append(
                f'<circle cx="{place_x:.1f}" cy="{place_y:.1f}" r="3" '
                f'style="fill:{_color(number)}"><title>{note}</title></circle>'
            )
    return parts


def _color(number: int) -> str:
    index = number % len(COLORS)
    return f"var(--series-{index + 1},{COLORS[index]})"


def _stroke(number: int, *, dashed: bool) -> str:
    # A ninth line has the first one's colour again and is told from it by its dots.
    dots = "6 4" if dashed else "2 3" if number >= len(COLORS) else "none"
    return (
        f'style="stroke:{_color(number)}" stroke-width="2" stroke-linejoin="round" '
        f'stroke-dasharray="{dots}"'
    )


def _text(x: float, y: float, text: str, anchor: str, extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(text)}</text>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}" '
        'font-family="inherit" font-size="12" fill="currentColor">' + "".join(parts) + "</svg>"
    )
