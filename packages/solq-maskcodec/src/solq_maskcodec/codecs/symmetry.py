"""Vectors of masks → vectors of the flipped and transposed masks, without decoding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arrays import Array, constant, take
from ..validate import vectors_of_codec
from .dct_codec import DCTMaskCodec
from .zigzag import zigzag_corner, zigzag_order

# A cosine is even about the middle of the box for even frequencies and odd for odd ones, so a flip
# changes signs and nothing else.


def flip_horizontal(codec: DCTMaskCodec, vectors: Array) -> Array:
    """Vectors [..., coefficients] of the masks with left and right exchanged."""
    return _flip(vectors, _frequencies(codec)[1])


def flip_vertical(codec: DCTMaskCodec, vectors: Array) -> Array:
    """Vectors [..., coefficients] of the masks with top and bottom exchanged."""
    return _flip(vectors, _frequencies(codec)[0])


def transpose(codec: DCTMaskCodec, vectors: Array) -> Array:
    """Vectors [..., coefficients] of the masks with rows and columns exchanged.

    Needs the mirror image of each coefficient, hence whole diagonals of the zigzag order. 256
    coefficients end inside one: transpose vectors of 276 and keep the first 256 of the result.
    Raises ValueError, with the next such number, for a codec that has others.
    """
    rows, columns = _frequencies(codec)
    vectors_of_codec(vectors, codec.num_coefficients)
    position = {pair: index for index, pair in enumerate(zip(rows, columns, strict=True))}
    mirrored = [position.get(pair) for pair in zip(columns, rows, strict=True)]
    if None in mirrored:
        diagonals = np.add(*np.divmod(zigzag_order(codec.mask_size), codec.mask_size))
        whole = int((diagonals <= rows[-1] + columns[-1]).sum())
        msg = (
            "num_coefficients must be that of whole diagonals to transpose vectors, for example "
            f"{whole}, got {codec.num_coefficients}"
        )
        raise ValueError(msg)
    return take(vectors, constant(np.array(mirrored), vectors), -1)  # type: ignore[no-any-return]


def _frequencies(codec: DCTMaskCodec) -> tuple[list[int], list[int]]:
    """Row and column frequency of each coefficient."""
    corner = zigzag_corner(codec.mask_size, codec.num_coefficients)
    rows, columns = np.divmod(corner.order, corner.num_columns)
    return rows.tolist(), columns.tolist()


def _flip(vectors: Array, frequencies: list[int]) -> Array:
    vectors_of_codec(vectors, len(frequencies))
    signs: NDArray[np.float64] = 1.0 - 2.0 * (np.array(frequencies) % 2)
    return vectors * constant(signs, vectors)  # type: ignore[no-any-return]
