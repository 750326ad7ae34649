"""Masks ↔ COCO run lengths, the same strings as pycocotools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import array_namespace, to_numpy

_BITS = 5  # of a number in each character
_MORE = 0x20  # the bit of a character that says that the next one belongs to the same number
_SIGN = 0x10  # the bit of a number's last character that says that it is negative
_FIRST = ord("0")  # the character of 0
_MOST_CHARACTERS = 7  # of a number: 35 bits hold any difference of two 32-bit counts
_MOST_PIXELS = 2**53  # up to here, floats add up counts exactly


def masks_to_rle(masks: Any) -> list[dict[str, Any]]:
    """COCO's compressed RLE, `{"size": [height, width], "counts": str}`, of each mask.

    masks [instances, height, width] are bool or integers (0 is background), NumPy or torch.
    """
    array_namespace(masks=masks)
    if masks.ndim != 3:
        msg = f"masks must be [instances, height, width], got shape {tuple(masks.shape)}"
        raise ValueError(msg)
    pixels = to_numpy(masks)
    if pixels.dtype.kind not in "biu":
        msg = f"masks must be bool or integers (threshold floats first), got dtype {pixels.dtype}"
        raise ValueError(msg)
    size = [int(masks.shape[1]), int(masks.shape[2])]
    is_bool = pixels.dtype == np.bool_
    counts = [_counts_of_mask(mask if is_bool else mask != 0) for mask in pixels]
    return [{"size": list(size), "counts": string} for string in strings_of_counts(counts)]


def _counts_of_mask(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Lengths of the runs down the columns, from left to right, the first one of background.

    Looks for changes row by row, as the mask lies in memory, and sorts the few that there are:
    a fraction of the time it takes to lay the mask out by columns.
    """
    height, width = mask.shape
    if mask.size == 0:
        return np.zeros(1, np.int64)
    rows, columns = np.divmod(np.flatnonzero(mask[1:] != mask[:-1]), width)
    inside_columns = columns * height + rows + 1
    before = np.concatenate([[False], mask[-1, :-1]])
    between_columns = np.flatnonzero(mask[0] != before) * height
    ends = np.sort(np.concatenate([inside_columns, between_columns, [mask.size]]))
    return np.diff(ends, prepend=0)


def counts_of_window(
    window: NDArray[np.bool_], corner: tuple[int, int], image_size: tuple[int, int]
) -> NDArray[np.int64]:
    """Run lengths of a mask that is all background outside of a window [rows, columns] of it.

    corner, (x, y), is where the window begins in the image of image_size, (height, width).
    """
    x, y = corner
    height, width = image_size
    rows, columns = window.shape
    if min(x, y) < 0 or x + columns > width or y + rows > height:
        msg = f"window must lie in the image {image_size}, got {window.shape} at {corner}"
        raise ValueError(msg)
    is_change = np.zeros((columns, rows + 1), np.bool_)
    is_change[:, :-1] = window.T
    is_change[:, 1:] ^= window.T
    column, row = np.divmod(np.flatnonzero(is_change), rows + 1)
    # Two at one place are none: a column that is on to its end, and the next from its start.
    changes, times = np.unique((column + x) * height + row + y, return_counts=True)
    changes = changes[(times == 1) & (changes < height * width)]
    counts: NDArray[np.int64] = np.diff(changes, prepend=0, append=height * width)
    return counts


def strings_of_counts(counts: Sequence[NDArray[np.int64]]) -> list[str]:
    """COCO's string for each list of counts, all written at once.

    From the fourth on, a count is stored as the difference to the one before the last. A number is
    cut into groups of 5 bits, lowest first, the last of which carries the sign.
    """
    if not counts:
        return []
    numbers = np.concatenate([_differences(runs) for runs in counts])
    # A number ends at the first group after which only copies of its sign bit are left.
    lengths = np.ones(len(numbers), np.int64)
    longer = np.arange(len(numbers))
    while len(longer) > 0:
        rest = numbers[longer] >> (_BITS * lengths[longer] - 1)
        longer = longer[(rest != 0) & (rest != -1)]
        lengths[longer] += 1
    stops = np.cumsum(lengths)
    characters = np.empty(stops[-1], np.uint8)
    left, place = np.arange(len(numbers)), 0
    while len(left) > 0:
        groups = (numbers[left] >> (_BITS * place)) & 0x1F
        place += 1
        has_more = lengths[left] > place
        characters[(stops - lengths)[left] + place - 1] = groups + _MORE * has_more + _FIRST
        left = left[has_more]
    text = characters.tobytes().decode("ascii")
    text_stops = np.append(0, stops)[np.cumsum([len(runs) for runs in counts])].tolist()
    text_starts = [0, *text_stops[:-1]]
    return [text[start:stop] for start, stop in zip(text_starts, text_stops, strict=True)]


def _differences(runs: NDArray[np.int64]) -> NDArray[np.int64]:
    differences = runs.copy()
    differences[3:] -= runs[1:-2]
    return differences


def rle_to_masks(rles: Iterable[Mapping[str, Any]]) -> NDArray[np.bool_]:
    """Masks, bool [instances, height, width], of COCO RLEs that share one size.

    counts may be compressed (str or bytes) or a list of run lengths. No RLEs give shape (0, 0, 0).
    Raises ValueError, with the index of the RLE, for counts that are broken or do not fill it;
    nothing of its size is allocated before.
    """
    rles = list(rles)
    if not rles:
        return np.zeros((0, 0, 0), np.bool_)
    height, width = size_of_rle(rles[0], 0)
    counts = [counts_of_rle(rle, index, (height, width)) for index, rle in enumerate(rles)]
    masks = np.zeros((len(rles), height, width), np.bool_)
    for mask, runs in zip(masks, counts, strict=True):
        x0, y0, x1, y1 = box_of_counts(runs, height)
        mask[y0:y1, x0:x1] = columns_of_counts(runs, height, slice(x0, x1))[:, y0:y1].T
    return masks


def rle_areas(rles: Iterable[Mapping[str, Any]]) -> NDArray[np.int64]:
    """Pixels of each mask, [instances], of COCO RLEs of any sizes; no mask is decoded.

    Raises ValueError, with the index of the RLE, for counts that are broken.
    """
    counts = [counts_of_rle(rle, i, size_of_rle(rle, i)) for i, rle in enumerate(rles)]
    return np.array([runs[1::2].sum() for runs in counts], np.int64)


def box_of_counts(counts: NDArray[np.int64], height: int) -> tuple[int, int, int, int]:
    """The smallest box (x0, y0, x1, y1), in whole pixels, around a mask; zeros if it is empty."""
    ends = np.cumsum(counts)
    starts, stops = ends[:-1:2], ends[1::2]
    is_run = stops > starts
    if not is_run.any():
        return 0, 0, 0, 0
    left, top = np.divmod(starts[is_run], height)
    right, bottom = np.divmod(stops[is_run] - 1, height)
    if (right > left).any():  # a run goes on from the last pixel of a column to the next's first
        return int(left[0]), 0, int(right[-1]) + 1, height
    return int(left[0]), int(top.min()), int(right[-1]) + 1, int(bottom.max()) + 1


def columns_of_counts(counts: NDArray[np.int64], height: int, columns: slice) -> NDArray[np.bool_]:
    """Some columns, bool [columns, height], of the mask with these counts; no others are decoded.

    Each column is one row of the result, as run lengths go.
    """
    start, stop = columns.start * height, columns.stop * height
    ends = np.cumsum(counts)
    first = int(np.searchsorted(ends, start, "right"))
    last = int(np.searchsorted(ends, stop, "left"))
    lengths = np.diff(np.minimum(ends[first : last + 1], stop), prepend=start)
    is_mask = np.arange(first, first + len(lengths)) % 2 == 1
    return np.repeat(is_mask, lengths).reshape(columns.stop - columns.start, height)


def size_of_rle(rle: Mapping[str, Any], index: int) -> tuple[int, int]:
    """(height, width) that the RLE at the index says it has."""
    try:
        height, width = (int(side) for side in rle["size"])
    except (KeyError, TypeError, ValueError, OverflowError):
        height, width = -1, -1
    if min(height, width) < 0 or height * width > _MOST_PIXELS or "counts" not in rle:
        msg = f'rle {index} must be {{"size": [height, width], "counts": …}}, got {rle!r:.200}'
        raise ValueError(msg)
    return height, width


def counts_of_rle(
    rle: Mapping[str, Any], index: int, image_size: tuple[int, int]
) -> NDArray[np.int64]:
    """The run lengths of the RLE at the index, which fill the image and no more."""
    size = size_of_rle(rle, index)
    if size != image_size:
        msg = f"rle {index} must have the size {list(image_size)} of all, got {list(size)}"
        raise ValueError(msg)
    height, width = size
    counts = _integers_of_rle(rle, index)
    # As floats, because a sum of integers may wrap around to the right number.
    if (counts < 0).any() or counts.sum(dtype=np.float64) != height * width:
        msg = (
            f"counts of rle {index} must be lengths that add up to "
            f"{height} * {width} = {height * width}, got a sum of {sum(counts.tolist())} "
            f"and a least length of {int(counts.min(initial=0))}"
        )
        raise ValueError(msg)
    return counts


def _integers_of_rle(rle: Mapping[str, Any], index: int) -> NDArray[np.int64]:
    counts = rle["counts"]
    if isinstance(counts, str | bytes):
        return _counts_of_string(counts, index)
    runs = np.asarray(counts)
    if runs.ndim != 1 or (runs.size > 0 and runs.dtype.kind not in "iu"):
        msg = f"counts of rle {index} must be a string, bytes or integers, got {counts!r:.200}"
        raise ValueError(msg)
    return runs.astype(np.int64)


def _counts_of_string(string: str | bytes, index: int) -> NDArray[np.int64]:
    """The run lengths that a COCO string holds."""
    text = string.encode("utf-8") if isinstance(string, str) else string
    characters = np.frombuffer(text, np.uint8).astype(np.int64) - _FIRST
    if len(characters) == 0:
        return np.zeros(0, np.int64)
    stops = np.flatnonzero(characters & _MORE == 0) + 1
    starts = np.concatenate([[0], stops[:-1]])
    if (
        ((characters < 0) | (characters > 0x3F)).any()
        or len(stops) == 0
        or stops[-1] != len(characters)
        or (stops - starts).max() > _MOST_CHARACTERS
    ):
        msg = f"counts of rle {index} must be a COCO RLE string, got {string!r:.200}"
        raise ValueError(msg)
    lengths = stops - starts
    place = np.arange(len(characters)) - np.repeat(starts, lengths)
    counts = np.add.reduceat((characters & 0x1F) << (_BITS * place), starts)
    counts -= np.where(characters[stops - 1] & _SIGN, 1 << (_BITS * lengths), 0)
    # Undoes the differences: the counts at odd places are one running sum, those at even places
    # from the third on another; the first count stands alone.
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts
