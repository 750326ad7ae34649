"""The orthonormal two-dimensional DCT of a corner of frequencies, as two matrix products."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=64)
def cosine_basis(num_frequencies: int, size: int, num_positions: int) -> NDArray[np.float64]:
    """Cosines at the pixel centres of a grid, float64 [frequencies, positions].

    With `num_positions == size` these are the first rows of the orthonormal DCT-II matrix of that
    size. With another number of positions the same continuous functions are read at the pixel
    centres of a finer or coarser grid over the same box.
    """
    frequencies = np.arange(num_frequencies)[:, None]
    centres = (np.arange(num_positions) + 0.5) / num_positions
    basis: NDArray[np.float64] = np.cos(np.pi * frequencies * centres) * np.sqrt(2.0 / size)
    basis[0] = np.sqrt(1.0 / size)
    basis.setflags(write=False)
    return basis


def to_frequencies(images: Any, row_basis: Any, column_basis: Any) -> Any:
    """The corner of the spectrum, [batch, rows, columns], of images [batch, height, width].

    The column product comes first: it is one product for the whole batch, and it leaves
    `columns` of `width` numbers for the second one. No FFT computes so few outputs as cheaply.
    """
    batch, height, width = images.shape
    columns = images.reshape(batch * height, width) @ column_basis.T
    return row_basis @ columns.reshape(batch, height, len(column_basis))


def from_frequencies(corners: Any, row_basis: Any, column_basis: Any) -> Any:
    """The images [batch, height, width] of corners [batch, rows, columns], zero beyond them."""
    batch, rows, columns = corners.shape
    images = corners.reshape(batch * rows, columns) @ column_basis
    return row_basis.T @ images.reshape(batch, rows, column_basis.shape[1])
