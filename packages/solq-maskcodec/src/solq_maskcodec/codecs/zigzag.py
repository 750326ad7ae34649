"""The zigzag order of coefficients: low frequencies first, diagonal by diagonal."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..validate import positive_integer


def zigzag_order(size: int) -> NDArray[np.int64]:
    """Flat (row-major) indices of a [size, size] matrix in zigzag order, int64 [size * size].

    JPEG's order: (0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), … as (row, column). For even
    sizes it is the table of the published code; that code stops half-way for odd sizes
    (models/dct.py, `zigzag`), where the order here goes on to the end.
    """
    size = positive_integer("size", size)
    rows, columns = np.divmod(np.arange(size * size, dtype=np.int64), size)
    diagonal = rows + columns
    along_diagonal = np.where(diagonal % 2 == 1, rows, columns)
    return np.lexsort((along_diagonal, diagonal)).astype(np.int64, copy=False)


class Corner(NamedTuple):
    """The top-left block of a coefficient matrix that holds the first coefficients."""

    num_rows: int
    num_columns: int
    order: NDArray[np.int64]  # flat indices into the block, [coefficients]


@lru_cache(maxsize=32)
def zigzag_corner(size: int, num_coefficients: int) -> Corner:
    """The smallest corner with the first `num_coefficients` of a [size, size] matrix.

    Everything outside it is never computed: 256 coefficients of 128x128 lie in 23 rows and 22
    columns, 3 % of the matrix.
    """
    rows, columns = np.divmod(zigzag_order(size)[:num_coefficients], size)
    num_rows, num_columns = int(rows.max()) + 1, int(columns.max()) + 1
    order = rows * num_columns + columns
    order.setflags(write=False)
    return Corner(num_rows, num_columns, order)
