"""Boxes → where ROIAlign reads the mask of each, along one axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]

# Boxes prepared together: many, to spread the cost of NumPy's calls; few, to need little memory.
_BOXES_PER_STEP = 32
# From further out, float32 steps by more than 64 pixels.
_FARTHEST = 2**30


class PooledAxis(NamedTuple):
    """Where ROIAlign reads along one axis: some points in each bin, between two pixels each.

    A bin reads few of the pixels, so weights are stored for blocks of bins: block k has those of
    the pixels from `firsts[k]` on. The last block may have bins too many, with weights of 0.
    """

    span: slice  # the pixels of the image that are read at all; `firsts` count from its start
    firsts: Integers  # [blocks]
    weights: Floats  # [blocks, bins, pixels], of the mean over a bin's points
    start: np.floating[Any]
    bin_size: np.floating[Any]
    points: int  # in each bin
    extent: int  # of the image, in pixels

    def samples(self, bins: Integers) -> tuple[Integers, Integers, Floats, Floats]:
        """The two pixels of the span for each point of the bins, and their weights.

        Each is [bins, points]. Points outside the image have weights of 0.
        """
        number = np.arange(self.points)
        positions = _positions(self.start, self.bin_size, self.points, bins[:, None], number)
        inside, low, high, low_weight, high_weight = _between_pixels(positions, self.extent)
        return (
            np.where(inside, low - self.span.start, 0),
            np.where(inside, high - self.span.start, 0),
            low_weight * inside,
            high_weight * inside,
        )


def pooled_axes(
    boxes: Floats, image_size: tuple[int, int], size: int, bins_per_block: int
) -> Iterator[tuple[PooledAxis | None, PooledAxis | None]]:
    """The columns and the rows of each box (x0, y0, x1, y1), None where they have no point.

    Same operations in the same order and precision as torchvision's CPU kernel
    (roi_align_common.h, `pre_calc_for_bilinear_interpolate`). Raises ValueError for boxes that
    reach too far to count their pixels in float32.
    """
    is_far = (np.abs(boxes) > _FARTHEST).any(axis=1)
    if is_far.any():
        index = int(np.argmax(is_far))
        got = boxes[index].tolist()
        msg = f"boxes must lie within {_FARTHEST} pixels, got {got} at index {index}"
        raise ValueError(msg)
    height, width = image_size
    for first in range(0, len(boxes), _BOXES_PER_STEP):
        # All axes at once: NumPy's calls would cost more than their arithmetic for one.
        corners = boxes[first : first + _BOXES_PER_STEP].reshape(-1, 2, 2)
        starts, stops = corners[:, 0].reshape(-1), corners[:, 1].reshape(-1)
        extents = np.tile([width, height], len(corners))
        axes = _pooled_axes(starts, stops, extents, size, bins_per_block)
        yield from zip(axes, axes, strict=True)


def _pooled_axes(
    starts: Floats, stops: Floats, extents: Integers, size: int, bins_per_block: int
) -> Iterator[PooledAxis | None]:
    half = starts.dtype.type(0.5)
    starts, stops = starts - half, stops - half
    bin_sizes = (stops - starts) / starts.dtype.type(size)
    points = np.maximum(np.ceil(bin_sizes), 0).astype(np.int64)
    points[extents < 1] = 0
    box, bins, number = _points_near_image(starts, bin_sizes, points, extents, size)
    positions = _positions(starts[box], bin_sizes[box], points[box], bins, number)
    inside, low, high, low_weight, high_weight = _between_pixels(positions, extents[box])
    box, bins, low, high = box[inside], bins[inside], low[inside], high[inside]

    num_blocks = -(-size // bins_per_block)
    block = box * num_blocks + bins // bins_per_block
    firsts, lasts = _pixels_of_blocks(block, low, high, len(starts) * num_blocks)
    firsts, lasts = firsts.reshape(-1, num_blocks), lasts.reshape(-1, num_blocks)
    span_starts, span_stops = firsts.min(axis=1), lasts.max(axis=1) + 1
    widths = np.maximum(lasts - firsts + 1, 0).max(axis=1)
    # All blocks of a box are as wide as the widest, so some begin earlier than they have to.
    firsts = np.minimum(firsts, (span_stops - widths)[:, None])

    sizes = widths * (num_blocks * bins_per_block)
    ends = np.cumsum(sizes)
    place = (ends - sizes)[box] + bins * widths[box] - firsts.reshape(-1)[block]
    totals = np.bincount(place + low, low_weight[inside] / points[box], ends[-1])
    totals += np.bincount(place + high, high_weight[inside] / points[box], ends[-1])
    weights: Floats = totals.astype(starts.dtype)
    firsts -= span_starts[:, None]
    for index, width in enumerate(widths.tolist()):
        if width == 0:
            yield None
            continue
        own = weights[ends[index] - sizes[index] : ends[index]]
        yield PooledAxis(
            span=slice(int(span_starts[index]), int(span_stops[index])),
            firsts=firsts[index],
            weights=own.reshape(num_blocks, bins_per_block, width),
            start=starts[index],
            bin_size=bin_sizes[index],
            points=int(points[index]),
            extent=int(extents[index]),
        )


def _points_near_image(
    starts: Floats, bin_sizes: Floats, points: Integers, extents: Integers, size: int
) -> tuple[Integers, Integers, Integers]:
    """All points that can lie in the image, and few others: box, bin, number in the bin.

    A box may be far larger than the image, and its points too many to lay out.
    """
    begin = starts.astype(np.float64)
    length = np.abs(bin_sizes.astype(np.float64)) * size
    pitch = length / (np.maximum(points, 1) * size)
    slack = 2 * pitch + 8 * np.finfo(starts.dtype).eps * (np.abs(begin) + length)
    most = points * size
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        first = np.clip((-1 - slack - begin) / pitch, 0, most)
        last = np.clip((extents + slack - begin) / pitch, 0, most)
    first, last = np.where(points > 0, (first, last), 0).astype(np.int64)
    counts = last - first
    box = np.repeat(np.arange(len(starts)), counts)
    order = np.arange(len(box)) - (np.cumsum(counts) - counts - first)[box]
    bins, number = np.divmod(order, points[box])
    return box, bins, number


def _positions(start: Any, bin_size: Any, points: Any, bins: Integers, number: Integers) -> Floats:
    """Where points lie, counted from the centre of the first pixel on."""
    dtype = start.dtype
    half = dtype.type(0.5)
    offsets = (number.astype(dtype) + half) * bin_size / np.asarray(points, dtype)
    positions: Floats = (start + bins.astype(dtype) * bin_size) + offsets
    return positions


def _between_pixels(
    positions: Floats, extent: Any
) -> tuple[NDArray[np.bool_], Integers, Integers, Floats, Floats]:
    """Whether each point counts, up to a pixel outside; its two pixels and their weights."""
    inside = (positions >= -1) & (positions <= extent)
    positions = np.clip(positions, 0, np.asarray(extent - 1, positions.dtype))
    low = np.minimum(positions.astype(np.int64), extent - 1)
    high_weight = positions - low.astype(positions.dtype)
    return inside, low, np.minimum(low + 1, extent - 1), 1 - high_weight, high_weight


def _pixels_of_blocks(
    block: Integers, low: Integers, high: Integers, num_blocks: int
) -> tuple[Integers, Integers]:
    """The first and the last pixel that the points of each block read, ascending in block.

    The first is beyond the last where a block has no points.
    """
    firsts = np.full(num_blocks, np.iinfo(np.int64).max // 2)
    lasts = np.full(num_blocks, -1)
    heads = np.flatnonzero(np.diff(block, prepend=-1))
    if len(heads) > 0:
        firsts[block[heads]] = np.minimum.reduceat(low, heads)
        lasts[block[heads]] = np.maximum.reduceat(high, heads)
    return firsts, lasts
