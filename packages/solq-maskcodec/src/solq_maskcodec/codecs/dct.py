"""The orthonormal two-dimensional DCT of a corner of frequencies, as matrix products."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Table, addable, as_float, concat, flip, reshape, take, zeros
from .zigzag import zigzag_corner

# The widths that BLAS kernels work in: 24 rows take 0.8 of the time of 23, 12 half that of 11.
_MULTIPLE = 4


def cosines(frequencies: NDArray[np.int64], size: int, num_positions: int) -> NDArray[np.float64]:
    """Cosines at the pixel centres of a grid, float64 [frequencies, positions].

    With `num_positions == size` these are rows of the orthonormal DCT-II matrix of that size. With
    another number of positions the same continuous functions are read at the pixel centres of a
    finer or coarser grid over the same box.
    """
    centres = (np.arange(num_positions) + 0.5) / num_positions
    scales = np.sqrt(np.where(frequencies == 0, 1, 2) / size)
    waves: NDArray[np.float64] = np.cos(np.pi * np.outer(frequencies, centres)) * scales[:, None]
    return waves


class CornerTransform:
    """The way between images, the corner of their spectrum and the vectors of its numbers.

    A corner is the block [rows, columns] that holds the first `num_coefficients` in zigzag order of
    a [mask_size, mask_size] spectrum; images are [grid_size, grid_size]. Its row frequencies are
    even in the first half of the rows and odd in the second. There may be more of them and of the
    columns than the coefficients need; `is_kept` [rows, columns] is 1 where one is, else 0.
    """

    def __init__(self, num_coefficients: int, mask_size: int, grid_size: int) -> None:
        num_rows, num_columns, order = zigzag_corner(mask_size, num_coefficients)
        pairs = _padded((num_rows + 1) // 2)
        columns = _padded(num_columns)
        row_frequencies = np.arange(2 * pairs).reshape(pairs, 2).T.ravel()
        row_of = np.argsort(row_frequencies)
        row, column = np.divmod(order, num_columns)
        places = row_of[row] * columns + column
        is_kept = np.zeros(2 * pairs * columns)
        is_kept[places] = 1
        # Where there is no coefficient, the zero behind them.
        sources = np.full(2 * pairs * columns, num_coefficients)
        sources[places] = np.arange(num_coefficients)
        waves = cosines(row_frequencies, mask_size, grid_size)
        # The middle row of an odd grid is its own mirror image, and added to itself in a fold.
        half = waves[:, : (grid_size + 1) // 2].copy()
        if grid_size % 2 == 1:
            half[:, -1] /= 2
        self.shape = 2 * pairs, columns
        self._places = Table(places)
        self._sources = Table(sources)
        self._is_kept = Table(is_kept.reshape(self.shape))
        self._even_rows = Table(half[:pairs])
        self._odd_rows = Table(half[pairs:])
        self._rows = Table(np.ascontiguousarray(waves.T))
        self._columns = Table(cosines(np.arange(columns), mask_size, grid_size))

    def is_kept(self, like: Any) -> Any:
        """1 where the corner [rows, columns] holds a coefficient, else 0."""
        return self._is_kept.like(like)

    def corners(self, images: Any) -> Any:
        """The corners [batch, rows, columns] of the spectra of images [batch, height, width].

        The sum of an image and its mirror image has the even frequencies of its rows, their
        difference the odd ones, both in half of the rows: half of the products. The rows are next,
        they leave less to do for the columns. No FFT computes so few outputs as cheaply.
        """
        images = addable("masks", images)
        half = self._even_rows.values.shape[1]
        top, bottom = images[:, :half, :], flip(images, 1)[:, :half, :]
        folded = as_float("masks", top + bottom)
        even = self._even_rows.like(folded) @ folded
        folded = as_float("masks", top - bottom)
        odd = self._odd_rows.like(folded) @ folded
        rows, columns = self.shape
        flat = reshape(concat([even, odd], 1), (-1, images.shape[2]))
        return reshape(flat @ self._columns.like(flat).T, (-1, rows, columns))

    def images(self, corners: Any, into: Any = None) -> Any:
        """The images [batch, height, width] of corners [batch, rows, columns], zero beyond them.

        NumPy puts them into an array of their shape and dtype, where one is given.
        """
        rows, columns = self.shape
        basis = self._columns.like(corners)
        waves = reshape(reshape(corners, (-1, columns)) @ basis, (-1, rows, basis.shape[1]))
        if into is not None:
            return np.matmul(self._rows.like(waves), waves, out=into)
        return self._rows.like(waves) @ waves

    def vectors(self, corners: Any) -> Any:
        """The coefficients [batch, coefficients] in corners [batch, rows, columns]."""
        rows, columns = self.shape
        flat = reshape(corners, (-1, rows * columns))
        return take(flat, self._places.like(flat), 1)

    def corners_of_vectors(self, vectors: Any) -> Any:
        """The corners [batch, rows, columns] that hold the coefficients [batch, coefficients]."""
        # A gather, not a scatter: arrays of some libraries cannot be written to.
        padded = concat([vectors, zeros((vectors.shape[0], 1), vectors)], 1)
        return reshape(take(padded, self._sources.like(vectors), 1), (-1, *self.shape))


@lru_cache(maxsize=32)
def corner_transform(num_coefficients: int, mask_size: int, grid_size: int) -> CornerTransform:
    """The `CornerTransform` of these numbers, the same object at each call."""
    return CornerTransform(num_coefficients, mask_size, grid_size)


def _padded(number: int) -> int:
    return -(-number // _MULTIPLE) * _MULTIPLE
