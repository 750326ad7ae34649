"""Image frame → box frame (crop) and back (paste)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from ..arrays import (
    Array,
    array_namespace,
    as_float,
    constant,
    full_precision,
    is_on_host,
    take,
    to_numpy,
    zeros,
)
from ..validate import (
    checked_boxes,
    checked_image_size,
    masks_with_boxes,
    number_or_none,
    positive_integer,
)
from .pasted_axis import PastedAxis, pasted_axes
from .polygons import counts_of_polygons
from .pooled_axis import PooledAxis, pooled_axes
from .rle import columns_of_counts, counts_of_rle, size_of_rle

# COCO's RLE of an object, or the list of its polygons.
Segmentation: TypeAlias = Mapping[str, Any] | Sequence[Any]

# Two orders of the same sums differ by about 1e-6; what lies this close to 0.5 is summed again.
_TIE = 1e-5
# A CPU multiplies 8 bins at a time with the pixels that they read, a fraction of all. On other
# devices, one product for all of them is quicker than several.
_BINS_PER_BLOCK = 8


@overload
def crop_masks(
    masks: Sequence[Segmentation],
    boxes: Any,
    size: int,
    image_size: tuple[int, int] | None = None,
) -> NDArray[np.bool_]: ...


@overload
def crop_masks(
    masks: Array, boxes: Any, size: int, image_size: tuple[int, int] | None = None
) -> Array: ...


def crop_masks(masks: Any, boxes: Any, size: int, image_size: tuple[int, int] | None = None) -> Any:
    """What the boxes hold of the masks, resampled to bool [instances, size, size].

    masks [instances, height, width] are bool or numbers in 0..1. Or masks are a list with, for
    each object, a COCO RLE (compressed or not) or a list of polygons (see `polygons_to_rle`): the
    same result, in NumPy, though only the columns that a box needs are ever decoded. boxes
    [instances, 4] are (x0, y0, x1, y1) in pixels and may reach outside the image, where masks are
    empty. image_size, (height, width), is what all masks must have, and needed for polygons.

    Equal, also in ties, to `torchvision.ops.roi_align(..., size, sampling_ratio=0, aligned=True)
    >= 0.5` on a CPU; as there, a box without area gives an empty mask. A box with exchanged corners
    does too. Raises ValueError for boxes that are not finite or reach beyond 2**30 pixels, and,
    with its index, for a mask that is broken or of another size.
    """
    size = positive_integer("size", size)
    if image_size is not None:
        image_size = checked_image_size(image_size)
    if isinstance(masks, Sequence):
        return _crop_segmentations(masks, boxes, size, image_size)
    _check_library(masks)
    corners = masks_with_boxes(masks, boxes)
    height, width = masks.shape[1:]
    if image_size is not None and (height, width) != image_size:
        msg = f"masks must have the image_size {image_size}, got {(height, width)}"
        raise ValueError(msg)
    crops: Any = zeros((len(masks), size, size), masks, dtype=bool)
    bins_per_block = _BINS_PER_BLOCK if is_on_host(masks) else size
    axes = pooled_axes(corners, (height, width), size, bins_per_block)
    for index, (columns, rows) in enumerate(axes):
        if rows is not None and columns is not None:
            window = masks[index, rows.span, columns.span]
            crops[index] = _pool(window, rows, columns, size)
    return crops


def _check_library(masks: Any) -> None:
    """Raises for arrays of a library whose arrays cannot be filled piece by piece."""
    if array_namespace(masks=masks).__name__ not in ("numpy", "torch"):
        msg = f"masks must be a NumPy array or a torch tensor, got {type(masks).__name__}"
        raise TypeError(msg)


def _crop_segmentations(
    segmentations: Sequence[Segmentation],
    boxes: Any,
    size: int,
    image_size: tuple[int, int] | None,
) -> NDArray[np.bool_]:
    array_namespace(boxes=boxes)
    corners = checked_boxes(boxes, len(segmentations), "masks")
    crops = np.zeros((len(segmentations), size, size), np.bool_)
    if len(segmentations) == 0:
        return crops
    if image_size is None and isinstance(segmentations[0], Mapping):
        image_size = size_of_rle(segmentations[0], 0)
    if image_size is None:
        msg = "image_size must be (height, width) for polygons, got None and polygons at index 0"
        raise ValueError(msg)
    axes = pooled_axes(corners, image_size, size, _BINS_PER_BLOCK)
    for index, (segmentation, (columns, rows)) in enumerate(zip(segmentations, axes, strict=True)):
        counts = _counts_of_segmentation(segmentation, index, image_size)
        if rows is not None and columns is not None:
            strip = columns_of_counts(counts, image_size[0], columns.span)
            window = np.ascontiguousarray(strip[:, rows.span].T)
            crops[index] = _pool(window, rows, columns, size)
    return crops


def _counts_of_segmentation(
    segmentation: Segmentation, index: int, image_size: tuple[int, int]
) -> NDArray[np.int64]:
    """The run lengths of an RLE or of polygons."""
    if isinstance(segmentation, Mapping):
        return counts_of_rle(segmentation, index, image_size)
    return counts_of_polygons(segmentation, *image_size, f"masks[{index}]")


def _pool(window: Any, rows: PooledAxis, columns: PooledAxis, size: int) -> Any:
    """Whether each bin's mean is at least 0.5, bool [size, size].

    A mean over points in two directions is a product with a matrix from each side. Where it comes
    so near to 0.5 that rounding decides, the terms are added again in ROIAlign's own order.
    """
    xp = array_namespace(window=window)
    with full_precision(window):
        means = _means(_means(window, rows, size).T, columns, size).T
    full = means >= 0.5
    is_tie = (means >= 0.5 - _TIE) != (means >= 0.5 + _TIE)
    # Ties are rare, and in two dimensions NumPy looks for them twenty times as long.
    ties = xp.where(is_tie.reshape(-1))[0]
    if len(ties) > 0:
        bins = ties // size, ties % size
        full[bins] = _mean_in_order(as_float("masks", window), rows, columns, bins) >= 0.5
    return full


def _means(pixels: Any, axis: PooledAxis, size: int) -> Any:
    """Means of the bins, float [size, others], of pixels [span, others]."""
    width = axis.weights.shape[2]
    read = as_float("masks", pixels[constant(axis.firsts[:, None] + np.arange(width), pixels)])
    return (constant(axis.weights, read) @ read).reshape(-1, pixels.shape[1])[:size]


def _mean_in_order(window: Any, rows: PooledAxis, columns: PooledAxis, bins: Any) -> Any:
    """Means [bins] of the bins at (row, column), with one rounding after each term as ROIAlign."""
    samples = rows.samples(to_numpy(bins[0])), columns.samples(to_numpy(bins[1]))
    top, bottom, to_top, to_bottom = (constant(values, window) for values in samples[0])
    left, right, to_left, to_right = (constant(values, window) for values in samples[1])
    total = zeros((len(bins[0]),), window)
    for i in range(rows.points):
        for j in range(columns.points):
            total = total + (
                to_top[:, i] * to_left[:, j] * window[top[:, i], left[:, j]]
                + to_top[:, i] * to_right[:, j] * window[top[:, i], right[:, j]]
                + to_bottom[:, i] * to_left[:, j] * window[bottom[:, i], left[:, j]]
                + to_bottom[:, i] * to_right[:, j] * window[bottom[:, i], right[:, j]]
            )
    return total / (rows.points * columns.points)


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
    _check_library(masks)
    corners = masks_with_boxes(masks, boxes)
    size = masks.shape[-1]
    if masks.shape[1] != size or size < 1:
        msg = f"masks must be [instances, size, size], got shape {tuple(masks.shape)}"
        raise ValueError(msg)
    height, width = checked_image_size(image_size)
    values = as_float("masks", masks)
    # Two empty pixels on each side stand for all that is outside the mask.
    padded: Any = zeros((len(masks), size + 4, size + 4), values)
    padded[:, 2:-2, 2:-2] = values
    pasted: Any = zeros((len(masks), height, width), values, None if threshold is None else bool)
    precision = to_numpy(values[:0]).dtype
    x0, y0, x1, y1 = corners.T
    rows_of_boxes = pasted_axes(y0, y1, height, size, precision)
    columns_of_boxes = pasted_axes(x0, x1, width, size, precision)
    for index, (rows, columns) in enumerate(zip(rows_of_boxes, columns_of_boxes, strict=True)):
        region = _interpolate(padded[index], rows, columns)
        pasted[index, rows.span, columns.span] = (
            region if threshold is None else region >= threshold
        )
    return pasted  # type: ignore[no-any-return]


def _interpolate(padded: Any, rows: PastedAxis, columns: PastedAxis) -> Any:
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
