"""A mask → the outline of its largest part; outlines → the pixels inside them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..image.outlines import boundary_edges

# Products of such coordinates are finite.
_FARTHEST = 1e100


def largest_outline(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The closed outline (x, y), [points, 2], of the part of a mask that encloses the most.

    Its points are those corners of pixels where it turns, clockwise, from the leftmost of the
    topmost ones on. Pixels that meet at a corner are one part; holes belong to what encloses them.
    An empty mask gives no points.
    """
    edges = boundary_edges(mask)
    largest = max(edges.loops(), key=edges.enclosed, default=[])
    is_turn = edges.directions[largest] != np.roll(edges.directions[largest], 1)
    outline: NDArray[np.float64] = edges.corners[largest][is_turn][:, ::-1].astype(np.float64)
    return outline


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
