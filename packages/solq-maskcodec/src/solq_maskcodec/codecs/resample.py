"""Values on a grid → values on a grid of another size over the same box."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Table


def resampled(values: Any, size: int) -> Any:
    """Values [batch, size, size] of floats [batch, height, height] over the same box.

    On a coarser grid the mean of what a pixel covers, on a finer one bilinear interpolation
    between pixel centres, with the outermost values beyond them.
    """
    if values.shape[-1] == size:
        return values
    weights = _weights(values.shape[-1], size).like(values)
    return weights @ values @ weights.T


@lru_cache(maxsize=16)
def _weights(size: int, new_size: int) -> Table:
    """The share of each old pixel, along one axis, in each new one, [new_size, size]."""
    pixels = np.arange(size)
    edges = np.arange(new_size + 1) * (size / new_size)
    if new_size < size:
        starts, stops = edges[:-1, None], edges[1:, None]
        covered = np.minimum(stops, pixels + 1) - np.maximum(starts, pixels)
        weights: NDArray[np.float64] = np.maximum(covered, 0) * (new_size / size)
    else:
        centres = (edges[:-1] + edges[1:]) / 2 - 0.5
        distances = np.abs(np.clip(centres, 0, size - 1)[:, None] - pixels)
        weights = np.maximum(1 - distances, 0)
    return Table(weights)
