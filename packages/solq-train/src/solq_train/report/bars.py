"""Numbers in groups → inline SVG: bars side by side, with their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, TOP, BOTTOM, PLOT = 500, 44, 30, 190
LEFT, RIGHT = 34, 8


def bar_chart(groups: Sequence[str], series: Mapping[str, Sequence[float]], *, title: str) -> str:
    """An `<svg>` element of values in 0..1, a bar for each series in each group.

    Negative values stand for none; colours come from the page's `--<name of the series>`.
    """
    parts = [*_axis(), *_legend(list(series))]
    room = (WIDTH - LEFT - RIGHT) / len(groups)
    width = min(44.0, 0.8 * room / max(1, len(series)))
    for place, group in enumerate(groups):
        middle = LEFT + (place + 0.5) * room
        parts.append(_text(middle, TOP + PLOT + 20, group))
        for number, (name, values) in enumerate(series.items()):
            x = middle + (number - len(series) / 2) * width
            parts += _bar(x, width, values[place], name, group)
    return (
        f'<svg viewBox="0 0 {WIDTH} {TOP + PLOT + BOTTOM}" role="img" '
        f'aria-label="{escape(title)}" font-family="inherit" font-size="12" fill="currentColor">'
        + "".join(parts)
        + "</svg>"
    )


def _bar(x: float, width: float, value: float, name: str, group: str) -> list[str]:
    if value < 0:
        return [_text(x + width / 2, TOP + PLOT - 6, "none", 'fill-opacity="0.6" font-size="10"')]
    height = value * PLOT
    note = escape(f"{name}, {group}: {value:.3f}")
    return [
        f'<rect x="{x + 1:.1f}" y="{TOP + PLOT - height:.1f}" width="{width - 2:.1f}" '
        f'height="{height:.1f}" rx="2" style="fill:var(--{escape(name)})">'
        f"<title>{note}</title></rect>",
        _text(x + width / 2, TOP + PLOT - height - 4, f"{value:.2f}", 'font-size="11"'),
    ]


def _axis() -> list[str]:
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = TOP + PLOT * (1 - tick)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="currentColor" stroke-opacity="0.15"/>'
        )
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" '
            f'fill-opacity="0.75">{tick:g}</text>'
        )
    return parts


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    for number, name in enumerate(names):
        x = LEFT + 110 * number
        parts.append(
            f'<rect x="{x}" y="4" width="11" height="11" rx="2" '
            f'style="fill:var(--{escape(name)})"/>'
            f'<text x="{x + 16}" y="14">{escape(name)}</text>'
        )
    return parts


def _text(x: float, y: float, text: str, extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" {extra}>{escape(text)}</text>'
