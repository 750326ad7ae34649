"""Random outlines of the three kinds of shapes, as polygons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

Kind = Literal["blob", "star", "ring"]
Polygon = Float64[np.ndarray, "_ 2"]  # x, y in pixels

_NUM_POINTS = 48  # of a round border


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A shape: one polygon, or two where a gap splits it, and for a ring the border of its hole."""

    kind: Kind
    polygons: tuple[Polygon, ...]
    hole: Polygon | None

    @property
    def area(self) -> float:
        """Pixels inside, were it drawn on an endless canvas."""
        inside = sum(_area(polygon) for polygon in self.polygons)
        return inside - (_area(self.hole) if self.hole is not None else 0.0)


def draw_outline(
    rng: np.random.Generator,
    kind: Kind,
    center: Float64[np.ndarray, 2],
    radius: float,
    gap: float = 0.0,
) -> Outline:
    """A random shape of one kind; a `gap` of this many pixels splits a blob or star in two."""
    if kind == "ring":
        border = _wavy_ellipse(rng, radius, flattest=0.85)
        hole = border * rng.uniform(0.42, 0.6)
        return Outline(kind=kind, polygons=(border + center,), hole=hole + center)
    border = _wavy_ellipse(rng, radius, flattest=0.6) if kind == "blob" else _star(rng, radius)
    parts = _split(rng, border, gap) if gap > 0 else (border,)
    return Outline(kind=kind, polygons=tuple(part + center for part in parts), hole=None)


def _wavy_ellipse(rng: np.random.Generator, radius: float, flattest: float) -> Polygon:
    """A closed border around (0, 0) that goes in and out in waves; no point beyond `radius`."""
    angles = np.linspace(0, 2 * np.pi, _NUM_POINTS, endpoint=False)
    num_waves = np.array([3, 4, 6])[:, None]
    heights = rng.uniform(0.0, 0.08, size=(3, 1))
    phases = rng.uniform(0, 2 * np.pi, size=(3, 1))
    distances = 1 + (heights * np.cos(num_waves * angles + phases)).sum(axis=0)
    points = np.stack([np.cos(angles), np.sin(angles) * rng.uniform(flattest, 1)], axis=1)
    points *= (radius * distances / distances.max())[:, None]
    return _turned(points, rng.uniform(0, 2 * np.pi))


def _star(rng: np.random.Generator, radius: float) -> Polygon:
    """Five arms around (0, 0), with corners pointing in between them."""
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    distances = np.where(np.arange(10) % 2 == 0, radius, radius * rng.uniform(0.4, 0.55))
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * distances[:, None]
    return _turned(points, rng.uniform(0, 2 * np.pi))


def _split(rng: np.random.Generator, border: Polygon, gap: float) -> tuple[Polygon, Polygon]:
    """The two sides of a straight gap near the middle."""
    angle = rng.uniform(0, 2 * np.pi)
    across = np.array([np.cos(angle), np.sin(angle)])
    offset = rng.uniform(-0.1, 0.1) * np.abs(border).max()
    return _beyond(border, across, offset + gap / 2), _beyond(border, -across, gap / 2 - offset)


def _beyond(border: Polygon, direction: Float64[np.ndarray, 2], distance: float) -> Polygon:
    """The part of a polygon further out in a direction than a distance (Sutherland, Hodgman)."""
    heights = border @ direction - distance
    points: list[Float64[np.ndarray, 2]] = []
    for index in range(len(border)):
        before, here = heights[index - 1], heights[index]
        if (before > 0) != (here > 0):
            step = before / (before - here)
            points.append(border[index - 1] + step * (border[index] - border[index - 1]))
        if here > 0:
            points.append(border[index])
    return np.array(points)


def _turned(points: Polygon, angle: float) -> Polygon:
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def _area(polygon: Polygon) -> float:
    """The shoelace formula."""
    x, y = polygon.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)
