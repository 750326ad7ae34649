"""Boxes → where the pixels of each read its mask, along one axis."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class PastedAxis(NamedTuple):
    """Where the pixels of a box read its mask along one axis: between two cells each.

    `low` counts cells of the mask with two empty ones before it and two behind it, and ascends;
    the other cell is `low + 1`.
    """

    span: slice  # the pixels of the image
    low: NDArray[np.int64]  # [span]
    low_weight: NDArray[np.floating[Any]]  # [span]
    high_weight: NDArray[np.floating[Any]]  # [span]


def pasted_axes(
    starts: NDArray[np.floating[Any]],
    stops: NDArray[np.floating[Any]],
    extent: int,
    size: int,
    dtype: Any = np.float32,
) -> list[PastedAxis]:
    """The pixels of one axis, `extent` long, of each box; none where box and image do not meet.

    Same operations in the same order as detectron2 (layers/mask_ops.py, `_do_paste_mask`) and as
    torch's CPU grid_sample, whose vector code rounds the last step, `(g + 1) * size / 2 - 0.5`,
    once (a fused multiply-add). In float64 and then rounded that is the same. All boxes at once:
    NumPy's calls would cost more than their arithmetic for one.
    """
    first = np.clip(np.floor(starts) - 1, 0, extent).astype(np.int64)
    last = np.clip(np.ceil(stops) + 1, 0, extent).astype(np.int64)
    lengths = np.where(stops > starts, np.maximum(last - first, 0), 0)
    ends = np.cumsum(lengths)
    box = np.repeat(np.arange(len(starts)), lengths)
    pixels = (np.arange(len(box)) - (ends - lengths - first)[box]).astype(np.float32)
    pixels += np.float32(0.5)
    with np.errstate(over="ignore", invalid="ignore"):  # a box of 1e-40 pixels: far outside it
        grid = (pixels - starts[box]) / (stops - starts)[box]
        grid = (grid * 2 - 1).astype(dtype)
        cells = ((grid + 1).astype(np.float64) * (size / 2) - 0.5).astype(dtype)
        low = np.clip(np.floor(cells), -2, size)
        high_weight = np.where((low >= -1) & (low < size), cells - low, 0).astype(dtype)
    parts = zip(
        np.split(low.astype(np.int64) + 2, ends[:-1]),
        np.split(1 - high_weight, ends[:-1]),
        np.split(high_weight, ends[:-1]),
        strict=True,
    )
    spans = zip(first.tolist(), lengths.tolist(), strict=True)
    return (
        [
            PastedAxis(slice(start, start + length), *part)
            for (start, length), part in zip(spans, parts, strict=True)
        ]
        if len(starts)
        else []
    )
