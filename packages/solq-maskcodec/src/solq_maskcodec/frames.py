"""Image frame → box frame (crop) and back (paste)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import (
    Array,
    array_namespace,
    as_float,
    constant,
    full_precision,
    take,
    to_numpy,
    zeros,
)
from .validate import masks_with_boxes, number_or_none, positive_integer

# Two orders of the same sums differ by about 1e-6; what lies this close to 0.5 is summed again.
_TIE = 1e-5


def crop_masks(masks: Array, boxes: Array, size: int) -> Array:
    """What the boxes hold of the masks, resampled to bool [instances, size, size].

    masks [instances, height, width] are bool or numbers in 0..1; boxes [instances, 4] are
    (x0, y0, x1, y1) in pixels and may reach outside the image, where masks are empty. Equal, also
    in ties, to `torchvision.ops.roi_align(..., size, sampling_ratio=0, aligned=True) >= 0.5` on a
    CPU; as there, a box without area gives an empty mask. A box with exchanged corners does too.
    Raises ValueError for boxes that are not finite.
    """
    size = positive_integer("size", size)
    corners = masks_with_boxes(masks, boxes)
    height, width = masks.shape[1:]
    crops: Any = zeros((len(masks), size, size), masks, dtype=bool)
    for index, (x0, y0, x1, y1) in enumerate(corners):
        rows = _pooled_axis(y0, y1, height, size)
        columns = _pooled_axis(x0, x1, width, size)
        if rows is not None and columns is not None:
            window = as_float("masks", masks[index, rows.span, columns.span])
            crops[index] = _pool(window, rows, columns)
    return crops  # type: ignore[no-any-return]


class _PooledAxis(NamedTuple):
    """Where ROIAlign reads along one axis: some points in each bin, between two pixels each."""

    span: slice  # the pixels that are read at all; `low` and `high` count from its start
    low: NDArray[np.int64]  # [size, points]
    high: NDArray[np.int64]  # [size, points]
    low_weight: NDArray[np.floating[Any]]  # [size, points]
    high_weight: NDArray[np.floating[Any]]  # [size, points]

    def matrix(self) -> NDArray[np.floating[Any]]:
        """Each bin's mean over its points as weights of the pixels, [size, span]."""
        size, points = self.low.shape
        weights: NDArray[np.floating[Any]] = np.zeros(
            (size, self.span.stop - self.span.start), self.low_weight.dtype
        )
        bins = np.arange(size)
        for point in range(points):
            weights[bins, self.low[:, point]] += self.low_weight[:, point]
            weights[bins, self.high[:, point]] += self.high_weight[:, point]
        weights /= points
        return weights


def _pooled_axis(start: Any, stop: Any, extent: int, size: int) -> _PooledAxis | None:
    """The points of one axis of a box, None if there are none in the image.

    Same operations in the same order and precision as torchvision's CPU kernel
    (roi_align_common.h, `pre_calc_for_bilinear_interpolate`).
    """
    half = start.dtype.type(0.5)
    start, stop = start - half, stop - half
    length = stop - start
    points = int(np.ceil(length / size))
    if points < 1 or extent < 1:
        return None
    bin_size = length / size
    offsets = (np.arange(points, dtype=start.dtype) + half) * bin_size / points
    positions = (start + np.arange(size, dtype=start.dtype) * bin_size)[:, None] + offsets
    inside = (positions >= -1) & (positions <= extent)
    if not inside.any():
        return None
    positions = np.clip(positions, 0, extent - 1)
    low = positions.astype(np.int64)
    high_weight = positions - low.astype(start.dtype)
    low_weight = 1 - high_weight
    high = np.minimum(low + 1, extent - 1)
    first, last = int(low[inside].min()), int(high[inside].max())
    return _PooledAxis(
        span=slice(first, last + 1),
        low=np.where(inside, low - first, 0),
        high=np.where(inside, high - first, 0),
        low_weight=low_weight * inside,
        high_weight=high_weight * inside,
    )


def _pool(window: Any, rows: _PooledAxis, columns: _PooledAxis) -> Any:
    """Whether each bin's mean is at least 0.5, bool [size, size].

    A mean over points in two directions is a product with a matrix from each side. Where it comes
    so near to 0.5 that rounding decides, the terms are added again in ROIAlign's own order.
    """
    xp = array_namespace(window=window)
    with full_precision(window):
        means = constant(rows.matrix(), window) @ window @ constant(columns.matrix(), window).T
    full = means >= 0.5
    bins = xp.where(xp.abs(means - 0.5) < _TIE)
    if len(bins[0]) > 0:
        full[bins] = _mean_in_order(window, rows, columns, bins) >= 0.5
    return full


def _mean_in_order(window: Any, rows: _PooledAxis, columns: _PooledAxis, bins: Any) -> Any:
    """Means [bins] of the bins at (row, column), with one rounding after each term as ROIAlign."""
    top, bottom, to_top, to_bottom = (constant(values, window)[bins[0]] for values in rows[1:])
    left, right, to_left, to_right = (constant(values, window)[bins[1]] for values in columns[1:])
    total = zeros((len(bins[0]),), window)
    for i in range(rows.low.shape[1]):
        for j in range(columns.low.shape[1]):
            total = total + (
                to_top[:, i] * to_left[:, j] * window[top[:, i], left[:, j]]
                + to_top[:, i] * to_right[:, j] * window[top[:, i], right[:, j]]
                + to_bottom[:, i] * to_left[:, j] * window[bottom[:, i], left[:, j]]
                + to_bottom[:, i] * to_right[:, j] * window[bottom[:, i], right[:, j]]
            )
    return total / (rows.low.shape[1] * columns.low.shape[1])


def paste_masks(
    masks: Array,
    boxes: Array,
    image_size: tuple[int, int],
    threshold: float | None = 0.5,
) -> Array:
    """Box-frame masks [instances, size, size] placed in the image: [instances, height, width].

    boxes [instances, 4] are (x0, y0, x1, y1) in pixels and may reach outside the image.
    image_size is (height, width). Values are interpolated bilinearly and count as True where they
    are at least `threshold`; None returns them as floats (differentiable in the masks). Equal to
    detectron2's `paste_masks_in_image` on a CPU, which fades beyond the box for at most a pixel
    and is False, or 0, further out. A box outside the image (where detectron2 raises), without
    area or with exchanged corners gives an empty mask. Raises ValueError for boxes that are not
    finite.
    """
    number_or_none("threshold", threshold)
    corners = masks_with_boxes(masks, boxes)
    size = masks.shape[-1]
    if masks.shape[1] != size or size < 1:
        msg = f"masks must be [instances, size, size], got shape {tuple(masks.shape)}"
        raise ValueError(msg)
    height, width = _image_size(image_size)
    values = as_float("masks", masks)
    # Two empty pixels on each side stand for all that is outside the mask.
    padded: Any = zeros((len(masks), size + 4, size + 4), values)
    padded[:, 2:-2, 2:-2] = values
    pasted: Any = zeros((len(masks), height, width), values, None if threshold is None else bool)
    precision = to_numpy(values[:0]).dtype
    for index, (x0, y0, x1, y1) in enumerate(corners):
        rows = _pasted_axis(y0, y1, height, size, precision)
        columns = _pasted_axis(x0, x1, width, size, precision)
        if rows is not None and columns is not None:
            region = _interpolate(padded[index], rows, columns)
            pasted[index, rows.span, columns.span] = (
                region if threshold is None else region >= threshold
            )
    return pasted  # type: ignore[no-any-return]


def _image_size(image_size: Any) -> tuple[int, int]:
    try:
        height, width = image_size
    except (TypeError, ValueError):
        msg = f"image_size must be (height, width), got {image_size!r}"
        raise ValueError(msg) from None
    return positive_integer("image_size height", height), positive_integer(
        "image_size width", width
    )


class _PastedAxis(NamedTuple):
    """Where the pixels of a box read its mask along one axis: between two cells each."""

    span: slice  # the pixels of the image
    low: NDArray[np.int64]  # [span], cells of the padded mask; the other cell is low + 1
    low_weight: NDArray[np.floating[Any]]  # [span]
    high_weight: NDArray[np.floating[Any]]  # [span]


def _pasted_axis(start: Any, stop: Any, extent: int, size: int, dtype: Any) -> _PastedAxis | None:
    """The pixels of one axis of a box, None if there are none in the image.

    Same operations in the same order as detectron2 (layers/mask_ops.py, `_do_paste_mask`) and as
    torch's CPU grid_sample, whose vector code rounds the last step, `(g + 1) * size / 2 - 0.5`,
    once (a fused multiply-add). In float64 and then rounded that is the same.
    """
    first = int(np.clip(np.floor(start) - 1, 0, extent))
    last = int(np.clip(np.ceil(stop) + 1, 0, extent))
    if stop <= start or last <= first:
        return None
    pixels = np.arange(first, last, dtype=np.float32) + np.float32(0.5)
    with np.errstate(over="ignore", invalid="ignore"):  # a box of 1e-40 pixels: far outside it
        grid = ((pixels - start) / (stop - start) * 2 - 1).astype(dtype)
        cells = ((grid + 1).astype(np.float64) * (size / 2) - 0.5).astype(dtype)
        low = np.clip(np.floor(cells), -2, size)
        high_weight = np.where((low >= -1) & (low < size), cells - low, 0).astype(dtype)
    return _PastedAxis(slice(first, last), low.astype(np.int64) + 2, 1 - high_weight, high_weight)


def _interpolate(padded: Any, rows: _PastedAxis, columns: _PastedAxis) -> Any:
    """The mask's values at the pixels, the four terms added in grid_sample's order."""
    top, left = constant(rows.low, padded), constant(columns.low, padded)
    to_top = constant(rows.low_weight, padded)[:, None]
    to_bottom = constant(rows.high_weight, padded)[:, None]
    to_left, to_right = (constant(weights, padded) for weights in columns[2:])
    west, east = take(padded, left, 1), take(padded, left + 1, 1)
    return (
        take(west, top, 0) * (to_top * to_left)
        + take(east, top, 0) * (to_top * to_right)
        + take(west, top + 1, 0) * (to_bottom * to_left)
        + take(east, top + 1, 0) * (to_bottom * to_right)
    )
