"""Polygons → COCO run lengths, the same strings as pycocotools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..validate import checked_image_size
from .rle import strings_of_counts

_FINE = 5  # steps of the fine grid in a pixel
_MIDDLE = 2  # the step of the fine grid, 0 to 4, that holds a pixel's centre
_FARTHEST = 2**27  # pixels; from further out, COCO's 32-bit numbers of steps overflow


def polygons_to_rle(polygons: Sequence[Any], image_size: tuple[int, int]) -> dict[str, Any]:
    """COCO's compressed RLE, `{"size": [height, width], "counts": str}`, of one object.

    polygons are its parts, which together are its mask: each is [x0, y0, x1, y1, …] or
    [points, 2], in pixels, with at least three points, and may reach outside the image. image_size
    is (height, width). The same string as that of pycocotools'
    `merge(frPyObjects(polygons, height, width))`. Raises ValueError for parts with fewer points,
    half a point, or numbers that are not finite or beyond 2**27.

    A point belongs to the inside by the rule of COCO's `rleFrPoly` (cocodataset/cocoapi,
    common/maskApi.c, BSD-2-Clause): vertices are rounded to a grid five times as fine, edges are
    drawn on it, and a pixel starts or ends a run where an edge crosses the middle of its column.
    Only these crossings are computed here, not all the points of an edge.
    """
    height, width = checked_image_size(image_size)
    counts = counts_of_polygons(polygons, height, width)
    return {"size": [height, width], "counts": strings_of_counts([counts])[0]}


def counts_of_polygons(
    polygons: Sequence[Any], height: int, width: int, name: str = "polygons"
) -> NDArray[np.int64]:
    """The run lengths of one object's polygons; errors call them by the name."""
    parts = _checked_parts(polygons, name)
    starts = np.concatenate(parts)
    stops = np.concatenate([np.roll(part, -1, axis=0) for part in parts])
    edge, pixels = _crossings(starts, stops, height, width)
    part = np.repeat(np.arange(len(parts)), [len(part) for part in parts])[edge]
    # Where two edges of one part cross at the same pixel, they undo each other.
    crossings, times = np.unique(part * (height * width + 1) + pixels, return_counts=True)
    part, changes = np.divmod(crossings[times % 2 == 1], height * width + 1)
    if len(parts) > 1:
        changes = _changes_of_union(part, changes)
    changes = changes[changes < height * width]
    counts: NDArray[np.int64] = np.diff(changes, prepend=0, append=height * width)
    return counts


def _checked_parts(polygons: Sequence[Any], name: str) -> list[NDArray[np.int64]]:
    """Vertices of each part on the fine grid, [points, 2]."""
    if not isinstance(polygons, Sequence) or isinstance(polygons, str) or len(polygons) == 0:
        msg = f"{name} must be a list of at least one polygon, got {polygons!r:.200}"
        raise ValueError(msg)
    return [_fine_vertices(part, f"{name}[{index}]") for index, part in enumerate(polygons)]


def _fine_vertices(polygon: Any, name: str) -> NDArray[np.int64]:
    try:
        numbers = np.asarray(polygon)
    except ValueError:  # lists of different lengths
        numbers = np.asarray(None)
    is_flat = numbers.ndim == 1 and len(numbers) % 2 == 0
    is_pairs = numbers.ndim == 2 and numbers.shape[1] == 2
    if numbers.dtype.kind not in "iuf" or not (is_flat or is_pairs) or numbers.size < 6:
        msg = f"{name} must be [x0, y0, x1, y1, …] of at least 3 points, got {polygon!r:.200}"
        raise ValueError(msg)
    pixels = numbers.astype(np.float64).reshape(-1, 2)
    if not (np.abs(pixels) <= _FARTHEST).all():  # NaN is not either
        worst = pixels[~(np.abs(pixels) <= _FARTHEST)][0]
        msg = f"{name} must hold finite numbers within {_FARTHEST} pixels, got {worst}"
        raise ValueError(msg)
    # Rounds towards zero as C's cast does, which for negative numbers is not to the nearest.
    return (_FINE * pixels + 0.5).astype(np.int64)


def _crossings(
    starts: NDArray[np.int64], stops: NDArray[np.int64], height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where edges cross the middles of columns: the edge, and the first pixel below it.

    Pixels count down the columns; the one below the last row is the first of the next column.
    """
    extent = np.abs(stops - starts)
    is_wide = extent[:, 0] >= extent[:, 1]
    # Every edge is drawn along its longer axis, from the smaller number to the larger.
    is_backward = np.where(is_wide, starts[:, 0] > stops[:, 0], starts[:, 1] > stops[:, 1])[:, None]
    tails, heads = np.where(is_backward, stops, starts), np.where(is_backward, starts, stops)
    left, right = np.minimum(starts, stops)[:, 0], np.maximum(starts, stops)[:, 0]
    # Columns whose steps _MIDDLE and _MIDDLE + 1 both belong to the edge.
    first = np.maximum(-((_MIDDLE - left) // _FINE), 0)
    last = np.minimum((right - _MIDDLE - 1) // _FINE, width - 1)
    lengths = np.maximum(last - first + 1, 0)
    edge = np.repeat(np.arange(len(starts)), lengths)
    column = np.arange(len(edge)) - (np.cumsum(lengths) - lengths - first)[edge]
    middle = _FINE * column + _MIDDLE
    is_wide, tail, run = is_wide[edge], tails[edge], (heads - tails)[edge]
    fine = np.empty_like(middle)
    fine[is_wide] = _rows_of_wide(middle[is_wide], tail[is_wide], run[is_wide])
    fine[~is_wide] = _rows_of_tall(middle[~is_wide], tail[~is_wide], run[~is_wide])
    row = np.clip(-((_MIDDLE - fine) // _FINE), 0, height)
    return edge, column * height + row


def _rows_of_wide(
    middle: NDArray[np.int64], tail: NDArray[np.int64], run: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The smaller of an edge's two heights, beside each other at and after the middle."""
    slope = run[:, 1] / run[:, 0]
    step = middle - tail[:, 0] + (slope < 0)
    return (tail[:, 1] + slope * step + 0.5).astype(np.int64)


def _rows_of_tall(
    middle: NDArray[np.int64], tail: NDArray[np.int64], run: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The height of an edge's last point before it crosses from the middle or to it."""
    slope = run[:, 0] / run[:, 1]

    def is_across(step: NDArray[np.int64]) -> NDArray[np.bool_]:
        at = (tail[:, 0] + slope * step + 0.5).astype(np.int64)
        across: NDArray[np.bool_] = (at > middle) == (slope > 0)
        return across

    # Rounded arithmetic decides, so the solution of the equation is a guess, right but for one.
    step = np.ceil((middle + 0.5 - tail[:, 0]) / slope).astype(np.int64)
    while True:
        change = (~is_across(step)).astype(np.int64) - is_across(step - 1)
        if not change.any():
            return tail[:, 1] + step - 1
        step += change


def _changes_of_union(part: NDArray[np.int64], changes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the union of parts changes, given where each part does, sorted by part and place."""
    within = np.arange(len(part)) - np.searchsorted(part, part)
    order = np.argsort(changes, kind="stable")
    changes = changes[order]
    depth = np.cumsum(np.where(within % 2 == 0, 1, -1)[order])
    is_last = np.diff(changes, append=-1) != 0
    is_inside = depth[is_last] > 0
    union: NDArray[np.int64] = changes[is_last][np.diff(is_inside, prepend=False)]
    return union
