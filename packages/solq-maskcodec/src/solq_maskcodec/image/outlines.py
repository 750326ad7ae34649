"""Masks → the outlines of their parts, along the edges between pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rle import box_of_counts, columns_of_counts, counts_of_rle, size_of_rle

# The edges above, right of, below and left of a pixel, clockwise on a screen, as (row, column) of
# their first corner from the pixel and as the step (row, column) along them.
_ABOVE, _BELOW = 0, 2
_FIRST_CORNERS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])
_STEPS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])


def rle_to_polygons(rle: Mapping[str, Any]) -> list[list[float]]:
    """COCO's polygons of an RLE: [x0, y0, x1, y1, …] of each part, clockwise, in pixels.

    `polygons_to_rle` makes the same RLE of them: points are corners of pixels, and a hole is
    joined to the outline around it by a vertical cut, there and back. Pixels that meet at a corner
    are one part. An empty mask has no polygons. Only the box around the mask is decoded.
    """
    height, _ = image_size = size_of_rle(rle, 0)
    counts = counts_of_rle(rle, 0, image_size)
    x0, y0, x1, y1 = box_of_counts(counts, height)
    window = columns_of_counts(counts, height, slice(x0, x1))[:, y0:y1].T
    edges = boundary_edges(window)
    _join_holes(edges, window)
    polygons = []
    for loop in edges.loops():
        points = _turns(edges, loop)[:, ::-1] + (x0, y0)
        polygons.append(points.astype(np.float64).reshape(-1).tolist())
    return polygons


class BoundaryEdges(NamedTuple):
    """Edges between foreground, on their right-hand side, and background, on their left.

    In the order of their direction, then in reading order; so the first one of a part's outline
    starts at the leftmost of the topmost corners.
    """

    corners: NDArray[np.int64]  # where they start, (row, column), [edges, 2]
    directions: NDArray[np.int64]  # into _STEPS, [edges]
    successors: list[int]  # the edge that starts where each one ends

    def loops(self) -> Iterator[list[int]]:
        """The closed outlines, each from its first edge on."""
        is_open = [True] * len(self.successors)
        for start in range(len(self.successors)):
            loop = []
            index = start
            while is_open[index]:
                is_open[index] = False
                loop.append(index)
                index = self.successors[index]
            if loop:
                yield loop

    def enclosed(self, loop: list[int]) -> int:
        """Pixels inside an outline; negative for the outline of a hole."""
        rows, columns = self.corners[loop].T
        return int((columns * np.roll(rows, -1) - np.roll(columns, -1) * rows).sum()) // 2


def boundary_edges(mask: NDArray[np.bool_]) -> BoundaryEdges:
    """The edges around all parts and holes of a mask [height, width]."""
    padded = np.pad(mask, 1)
    across = padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2]
    parts = [
        np.argwhere(mask & ~neighbours) + first
        for neighbours, first in zip(across, _FIRST_CORNERS, strict=True)
    ]
    corners = np.concatenate(parts)
    directions = np.repeat(np.arange(4), [len(part) for part in parts])
    places = _places(directions, corners, mask.shape)  # ascend
    ends = corners + _STEPS[directions]
    successors = np.full(len(corners), -1)
    # Where two pixels meet at a corner only, the turn to the left goes over to the other one.
    for turn in (1, 0, -1):
        sought = _places((directions + turn) % 4, ends, mask.shape)
        found = np.minimum(np.searchsorted(places, sought), len(places) - 1)
        successors = np.where(places[found] == sought, found, successors)
    return BoundaryEdges(corners, directions, successors.tolist())


def _places(
    directions: NDArray[np.int64] | int, corners: NDArray[np.int64], shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """One number for each direction and corner, in the order of `BoundaryEdges`."""
    height, width = shape
    rows, columns = corners.T
    places: NDArray[np.int64] = (directions * (height + 1) + rows) * (width + 1) + columns
    return places


def _join_holes(edges: BoundaryEdges, mask: NDArray[np.bool_]) -> None:
    """Have each hole's outline continue that of what lies above it, and come back.

    From the top of a hole, its column is followed upwards through the foreground to the first edge.
    That edge belongs to the part's outline or to a hole that begins higher, so none is joined to
    itself, nor two to one edge.
    """
    places = _places(edges.directions, edges.corners, mask.shape)
    holes = [loop for loop in edges.loops() if edges.enclosed(loop) < 0]
    for hole in holes:
        below = [edge for edge in hole if edges.directions[edge] == _BELOW]
        top = min(below, key=lambda edge: int(edges.corners[edge, 0]))
        row, column = edges.corners[top] - (0, 1)
        background = np.flatnonzero(~mask[:row, column])
        start = int(background[-1]) + 1 if len(background) else 0
        place = _places(_ABOVE, np.array([[start, column]]), mask.shape)
        edge = int(np.searchsorted(places, place)[0])
        last = hole[hole.index(top) - 1]
        edges.successors[last], edges.successors[edge] = edges.successors[edge], top


def _turns(edges: BoundaryEdges, loop: list[int]) -> NDArray[np.int64]:
    """The corners (row, column) at which an outline turns, also those of its cuts."""
    starts, steps = edges.corners[loop], _STEPS[edges.directions[loop]]
    # Both ends of each edge: behind a cut, the next one starts elsewhere.
    points = np.stack([starts, starts + steps], axis=1).reshape(-1, 2)
    points = points[(points != np.roll(points, -1, axis=0)).any(1)]
    after = np.sign(np.roll(points, -1, axis=0) - points)
    turns: NDArray[np.int64] = points[(after != np.roll(after, 1, axis=0)).any(1)]
    return turns
