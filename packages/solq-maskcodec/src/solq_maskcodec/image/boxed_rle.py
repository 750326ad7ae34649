"""Box-frame masks → COCO run lengths in the image, without ever laying a mask out in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import native
from ..arrays import to_numpy
from ..validate import checked_boxes, checked_image_size, positive_integer
from .pasted_axis import PastedAxis, pasted_axes
from .rle import strings_of_counts

# Masks of a step, 1 MiB of bool at 128x128: memory stays flat for any number of them.
_PIXELS_PER_STEP = 64 * 128 * 128
# Columns of pixels that are walked down together without the compiled kernel.
_COLUMNS_PER_STEP = 2048
# COCO's counts are unsigned 32-bit numbers.
_MOST_PIXELS = 2**32 - 1


def steps_of_batch(count: int, mask_size: int) -> Iterator[slice]:
    """Slices of a batch that together are all of it, each small enough for a step."""
    step = max(_PIXELS_PER_STEP // mask_size**2, 1)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def boxed_masks_to_rle(
    masks: Any, boxes: Any, image_size: tuple[int, int], *, num_threads: int = 1
) -> list[dict[str, Any]]:
    """COCO RLE, `{"size": [height, width], "counts": str}`, of each mask in its box.

    The same strings as `masks_to_rle(paste_masks(masks, boxes, image_size))`. masks are bool
    [instances, size, size]; boxes [instances, 4] are (x0, y0, x1, y1) in pixels; image_size is
    (height, width). `num_threads` are used where the compiled kernel is, see `backend()`.
    """
    pixels = to_numpy(masks)
    if pixels.ndim != 3 or pixels.shape[1] != pixels.shape[2] or pixels.shape[1] < 1:
        msg = f"masks must be [instances, size, size], got shape {tuple(masks.shape)}"
        raise ValueError(msg)
    if pixels.dtype != np.bool_:
        msg = f"masks must be bool (threshold numbers first), got dtype {pixels.dtype}"
        raise ValueError(msg)
    corners = checked_boxes(boxes, len(pixels), "masks")
    height, width = checked_image_size(image_size)
    if height * width > _MOST_PIXELS:
        msg = f"image_size must have at most {_MOST_PIXELS} pixels, got {height} * {width}"
        raise ValueError(msg)
    threads = positive_integer("num_threads", num_threads)
    if native.kernel is None:
        strings = numpy_strings(pixels, corners, height, width)
    else:
        dense = np.ascontiguousarray(pixels), np.ascontiguousarray(corners)
        strings = native.kernel.boxed_rle(*dense, height, width, threads)
    return [{"size": [height, width], "counts": counts} for counts in strings]


def numpy_strings(
    masks: NDArray[np.bool_], boxes: NDArray[np.floating[Any]], height: int, width: int
) -> list[str]:
    """The compressed counts of each mask, without the compiled kernel.

    As there (csrc/boxed_rle.h), a pixel whose four cells agree is what they are, and only the
    others are computed.
    """
    size = masks.shape[1]
    rows = pasted_axes(boxes[:, 1], boxes[:, 3], height, size)
    columns = pasted_axes(boxes[:, 0], boxes[:, 2], width, size)
    strings: list[str] = []
    for step in _steps_of_columns([len(axis.low) for axis in columns]):
        cells = _Cells.of_masks(masks[step])
        changes = _changes(cells, columns[step], rows[step], height, width)
        strings += strings_of_counts([np.diff(ends, prepend=0) for ends in changes])
    return strings


def _steps_of_columns(lengths: list[int]) -> Iterator[slice]:
    """Slices of the masks that have few columns together; a mask with many is one for itself."""
    start = total = 0
    for index, length in enumerate(lengths):
        if total + length > _COLUMNS_PER_STEP and index > start:
            yield slice(start, index)
            start, total = index, 0
        total += length
    if start < len(lengths):
        yield slice(start, len(lengths))


class _Cells(NamedTuple):
    """What lies between four cells each of masks with an empty border of two; transposed.

    `codes` has a bit for each of the four: 1 top left, 2 top right, 4 bottom left, 8 bottom right.
    Down a column, `is_read` marks where pixels begin to be on or off (15 or 0) and where they have
    to be computed (all others). The last row stands for the end of a column.
    """

    codes: NDArray[np.uint8]  # [masks, size + 3 columns, size + 4 rows]
    is_read: NDArray[np.bool_]  # the same

    @classmethod
    def of_masks(cls, masks: NDArray[np.bool_]) -> _Cells:
        count, size, _ = masks.shape
        padded = np.zeros((count, size + 4, size + 5), np.uint8)
        padded[:, 2:-2, 2:-3] = masks.transpose(0, 2, 1)
        pairs = padded[:, :-1] | padded[:, 1:] << 1
        codes = pairs[:, :, :-1] | pairs[:, :, 1:] << 2
        is_on = codes == 15
        is_mixed = (codes != 0) & ~is_on
        is_read = is_mixed.copy()
        is_read[..., 1:] |= is_mixed[..., :-1] | (is_on[..., 1:] ^ is_on[..., :-1])
        is_read[..., -1] = True
        return cls(codes, is_read)


def _changes(
    cells: _Cells,
    columns: list[PastedAxis],
    rows: list[PastedAxis],
    height: int,
    width: int,
) -> list[NDArray[np.int64]]:
    """Where background and foreground change in the image of each mask, and where it ends."""
    _, num_cell_columns, num_cells = cells.codes.shape
    num_rows = np.array([len(axis.low) for axis in rows])
    first_row = np.cumsum(num_rows) - num_rows
    upper, lower = (np.concatenate([axis[i] for axis in rows]) for i in (2, 3))
    left, right = (np.concatenate([axis[i] for axis in columns]) for i in (2, 3))

    # Of each column of pixels: its mask, its column of cells, and the place of its first pixel.
    # One place more than pixels for each image: that behind its last one.
    mask = np.repeat(np.arange(len(rows)), [len(axis.low) for axis in columns])
    cell_column = mask * num_cell_columns + np.concatenate([axis.low for axis in columns])
    top = mask * (height * width + 1) + np.concatenate(
        [
            np.arange(x.span.start, x.span.stop) * height + y.span.start
            for x, y in zip(columns, rows, strict=True)
        ]
    )

    # Of each row of cells, and one behind the last: how many rows of pixels lie above it.
    stride = num_cells + 1
    of_mask = np.repeat(np.arange(len(rows)) * stride, num_rows)
    in_cell = np.bincount(
        of_mask + np.concatenate([axis.low for axis in rows]) + 1, minlength=len(rows) * stride
    )
    rows_above = in_cell.reshape(-1, stride).cumsum(1).reshape(-1)

    # Of what is read down the columns: column, row of cells, how many pixels it is read for.
    is_read = cells.is_read.reshape(-1, num_cells).take(cell_column, 0)
    column = np.repeat(np.arange(len(mask)), np.count_nonzero(is_read, axis=1))
    cell = np.flatnonzero(is_read) - column * num_cells
    code = cells.codes.reshape(-1).take(cell_column[column] * num_cells + cell)
    is_mixed = (code != 0) & (code != 15)
    place_of_cell = (mask * stride)[column] + cell
    start = rows_above[place_of_cell]
    length = np.where(is_mixed, rows_above[place_of_cell + 1] - start, 1)

    # Of each pixel: whether it is on.
    reading = np.repeat(np.arange(len(column)), length)
    row = np.arange(len(reading)) + (start - (np.cumsum(length) - length))[reading]
    is_on = (code == 15)[reading]
    computed = np.flatnonzero(is_mixed[reading])
    one = reading[computed]
    weight = (first_row[mask])[column[one]] + row[computed]
    is_on[computed] = _is_on(
        code[one], upper[weight], lower[weight], left[column[one]], right[column[one]]
    )

    # Of what is said of one place, the last holds: a column's end is the start of the next one.
    place = top[column[reading]] + row
    is_last = np.ones(len(place), np.bool_)
    np.not_equal(place[1:], place[:-1], out=is_last[:-1])
    place, is_on = place[is_last], is_on[is_last]
    changes = place[is_on != np.append(False, is_on[:-1])]
    ends = np.arange(1, len(rows)) * (height * width + 1)
    return [
        _with_end(found - index * (height * width + 1), height * width)
        for index, found in enumerate(np.split(changes, np.searchsorted(changes, ends)))
    ]


def _is_on(
    code: NDArray[np.uint8],
    upper: NDArray[np.floating[Any]],
    lower: NDArray[np.floating[Any]],
    left: NDArray[np.floating[Any]],
    right: NDArray[np.floating[Any]],
) -> NDArray[np.bool_]:
    """Whether the mean of four cells is at least 0.5, in grid_sample's order of terms."""
    mean = (
        (code & 1) * (upper * left)
        + (code >> 1 & 1) * (upper * right)
        + (code >> 2 & 1) * (lower * left)
        + (code >> 3) * (lower * right)
    )
    is_on: NDArray[np.bool_] = mean >= 0.5
    return is_on


def _with_end(changes: NDArray[np.int64], end: int) -> NDArray[np.int64]:
    return changes if len(changes) and changes[-1] == end else np.append(changes, end)
