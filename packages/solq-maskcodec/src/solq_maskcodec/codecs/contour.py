"""A mask → the outline of its largest part; outlines → the pixels inside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# The edges above, right of, below and left of a pixel, clockwise on a screen, as (row, column) of
# their first corner from the pixel and as the step (row, column) along them.
_FIRST_CORNERS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])
_STEPS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])

# Products of such coordinates are finite.
_FARTHEST = 1e100


def largest_outline(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The closed outline (x, y), [points, 2], of the part of a mask that encloses the most.

    Its points are those corners of pixels where it turns, clockwise, from the leftmost of the
    topmost ones on. Pixels that meet at a corner are one part; holes belong to what encloses them.
    An empty mask gives no points.
    """
    edges = _boundary_edges(mask)
    best, best_area = np.zeros((0, 2)), 0.0
    for loop in _loops(edges.successors):
        is_turn = edges.directions[loop] != np.roll(edges.directions[loop], 1)
        rows, columns = edges.corners[loop][is_turn].T
        area = (columns * np.roll(rows, -1) - np.roll(columns, -1) * rows).sum() / 2
        # Positive for the outline of a part, negative for that of a hole.
        if area > best_area:
            best, best_area = np.stack([columns, rows], axis=1).astype(np.float64), area
    return best


class _Edges(NamedTuple):
    """Edges between foreground, on their right-hand side, and background, on their left.

    In the order of their direction, then in reading order; so the first one of a part's outline
    starts at the leftmost of the topmost corners.
    """

    corners: NDArray[np.int64]  # where they start, (row, column), [edges, 2]
    directions: NDArray[np.int64]  # into _STEPS, [edges]
    successors: list[int]  # the edge that starts where each one ends


def _boundary_edges(mask: NDArray[np.bool_]) -> _Edges:
    height, width = mask.shape
    padded = np.pad(mask, 1)
    across = padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2]
    index_of = np.full((4, height + 1, width + 1), -1)
    parts: list[NDArray[np.int64]] = []
    count = 0
    for direction, neighbours in enumerate(across):
        corners = np.argwhere(mask & ~neighbours) + _FIRST_CORNERS[direction]
        index_of[direction, *corners.T] = np.arange(count, count + len(corners))
        parts.append(corners)
        count += len(corners)
    corners = np.concatenate(parts)
    directions = np.repeat(np.arange(4), [len(part) for part in parts])
    ends = corners + _STEPS[directions]
    # Where two pixels meet at a corner only, the turn to the left goes over to the other one.
    left, straight, right = (index_of[(directions + turn) % 4, *ends.T] for turn in (-1, 0, 1))
    successors = np.where(left >= 0, left, np.where(straight >= 0, straight, right))
    return _Edges(corners, directions, successors.tolist())


def _loops(successors: list[int]) -> Iterator[list[int]]:
    """The cycles of a permutation, each from its smallest member on."""
    is_open = [True] * len(successors)
    for start in range(len(successors)):
        loop = []
        index = start
        while is_open[index]:
            is_open[index] = False
            loop.append(index)
            index = successors[index]
        if loop:
            yield loop


def pixels_inside(outlines: NDArray[Any], size: int) -> NDArray[np.bool_]:
    """The pixels whose centres closed outlines enclose, bool [batch, size, size].

    outlines [batch, points, 2] are (x, y) with the grid in 0..1; they may leave the grid and cross
    themselves. Enclosed is what lies right of an odd number of crossings in its row. An outline
    with a point that is not finite, or absurdly far away, encloses nothing.
    """
    batch = len(outlines)
    is_sound = (np.abs(outlines) < _FARTHEST).all((1, 2), keepdims=True)  # NaN is not
    # Centres of pixels become whole numbers.
    starts = np.where(is_sound, outlines, 0) * size - 0.5
    stops = np.roll(starts, -1, axis=1)
    top = np.clip(np.ceil(np.minimum(starts, stops)[..., 1]), 0, size).astype(np.int64)
    bottom = np.clip(np.ceil(np.maximum(starts, stops)[..., 1]), 0, size).astype(np.int64)
    # A segment crosses the rows top, …, bottom - 1: one entry for each of them.
    outline, segment = np.nonzero(bottom > top)
    repeats = (bottom - top)[outline, segment]
    outline, segment = np.repeat(outline, repeats), np.repeat(segment, repeats)
    row = np.arange(len(outline)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    row += top[outline, segment]
    (x0, y0), (x1, y1) = starts[outline, segment].T, stops[outline, segment].T
    x = x0 + (row - y0) / (y1 - y0) * (x1 - x0)
    column = np.clip(np.ceil(x), 0, size).astype(np.int64)
    # Crossings beyond the last column are counted in one that is cut off.
    places = (outline * size + row) * (size + 1) + column
    crossings = np.bincount(places, minlength=batch * size * (size + 1))
    crossings = crossings.reshape(batch, size, size + 1)[..., :-1]
    enclosed: NDArray[np.bool_] = np.cumsum(crossings, axis=-1) % 2 == 1
    return enclosed
