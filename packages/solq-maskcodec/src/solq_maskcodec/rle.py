"""Masks ↔ COCO run lengths, the same strings as pycocotools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import array_namespace, to_numpy

_BITS = 5  # of a number in each character
_MORE = 0x20  # the bit of a character that says that the next one belongs to the same number
_SIGN = 0x10  # the bit of a number's last character that says that it is negative
_FIRST = ord("0")  # the character of 0
_MOST_CHARACTERS = 7  # of a number: 35 bits hold any difference of two 32-bit counts


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
    return [{"size": list(size), "counts": string} for string in _strings_of_counts(counts)]


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


def _strings_of_counts(counts: Sequence[NDArray[np.int64]]) -> list[str]:
    """COCO's string for each list of counts, all written at once.

    From the fourth on, a count is stored as the difference to the one before the last. A number is
    cut into groups of 5 bits, lowest first, the last of which carries the sign.
    """
    if not counts:
        return []
    numbers = np.concatenate([_differences(runs) for runs in counts])
    place = np.arange(int(np.abs(numbers).max()).bit_length() // _BITS + 1)
    groups = numbers[:, None] >> (_BITS * place)
    # A number ends at the first group after which only copies of its sign bit are left.
    rest_is_sign = (groups >> (_BITS - 1) == 0) | (groups >> (_BITS - 1) == -1)
    lengths = np.argmax(rest_is_sign, axis=1) + 1
    characters = (groups & 0x1F) + _MORE * (place < lengths[:, None] - 1) + _FIRST
    text = characters[place < lengths[:, None]].astype(np.uint8).tobytes().decode("ascii")
    stops = np.concatenate([[0], np.cumsum(lengths)])[np.cumsum([len(runs) for runs in counts])]
    starts = np.concatenate([[0], stops[:-1]])
    return [text[start:stop] for start, stop in zip(starts, stops, strict=True)]


def _differences(runs: NDArray[np.int64]) -> NDArray[np.int64]:
    differences = runs.copy()
    differences[3:] -= runs[1:-2]
    return differences


def rle_to_masks(rles: Iterable[Mapping[str, Any]]) -> NDArray[np.bool_]:
    """Masks, bool [instances, height, width], of COCO RLEs that share one size.

    counts may be compressed (str or bytes) or a list of run lengths. No RLEs give shape (0, 0, 0).
    Raises ValueError, with the index of the RLE, for counts that are broken or do not fill it.
    """
    rles = list(rles)
    if not rles:
        return np.zeros((0, 0, 0), np.bool_)
    height, width = _size_of_rle(rles[0], 0)
    masks = np.empty((len(rles), height, width), np.bool_)
    for index, rle in enumerate(rles):
        if _size_of_rle(rle, index) != (height, width):
            msg = (
                f"rles must share one size, got {[height, width]} at index 0 "
                f"and {rle['size']} at index {index}"
            )
            raise ValueError(msg)
        counts = _counts_of_rle(rle, index)
        if (counts < 0).any() or counts.sum() != height * width:
            msg = (
                f"counts of rle {index} must be lengths that add up to "
                f"{height} * {width} = {height * width}, got a sum of {int(counts.sum())} "
                f"and a least length of {int(counts.min(initial=0))}"
            )
            raise ValueError(msg)
        is_mask = np.arange(len(counts)) % 2 == 1
        masks[index] = np.repeat(is_mask, counts).reshape(width, height).T
    return masks


def _size_of_rle(rle: Mapping[str, Any], index: int) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in rle["size"])
    except (KeyError, TypeError, ValueError):
        height, width = -1, -1
    if height < 0 or width < 0 or "counts" not in rle:
        msg = f'rle {index} must be {{"size": [height, width], "counts": …}}, got {rle!r:.200}'
        raise ValueError(msg)
    return height, width


def _counts_of_rle(rle: Mapping[str, Any], index: int) -> NDArray[np.int64]:
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
