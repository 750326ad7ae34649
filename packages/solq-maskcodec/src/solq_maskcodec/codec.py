"""Masks → vectors of DCT coefficients → masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import Array, array_namespace, as_float, constant, full_precision, is_on_host, zeros
from .dct import cosine_basis, from_frequencies, to_frequencies
from .refine import refined
from .threshold import RULES, foreground
from .validate import natural_number, number_or_none, positive_integer, vectors_of_codec
from .zigzag import zigzag_corner

# 16 masks of 128x128 in float32 are 1 MiB: what a core works on stays in its cache. Against one
# product for all, encoding and decoding 1000 masks take less than half the time.
_PIXELS_PER_CHUNK = 16 * 128 * 128


@dataclass(frozen=True)
class DCTMaskCodec:
    """Encodes square masks as their first DCT coefficients in zigzag order.

    `num_coefficients` is the length of a vector, `mask_size` the side of the masks. The defaults
    are the published ones. Vectors are not normalised: a mask that is all ones has the first
    coefficient `mask_size` and zeros after it.
    """

    num_coefficients: int = 256
    mask_size: int = 128

    def __post_init__(self) -> None:
        mask_size = positive_integer("mask_size", self.mask_size)
        num_coefficients = positive_integer("num_coefficients", self.num_coefficients)
        if num_coefficients > mask_size**2:
            msg = (
                f"num_coefficients must be at most mask_size ** 2 = {mask_size**2}, "
                f"got {num_coefficients}"
            )
            raise ValueError(msg)

    def encode(self, masks: Array, refine: int = 0) -> Array:
        """Vectors [..., coefficients] of masks [..., mask_size, mask_size].

        Masks are bool, integers or floats; vectors are float32, or float64 for float64 masks, and
        linear in the masks (differentiable for tensors).

        `refine` steps move each vector towards the one that gives the mask back, where what is at
        least 0.5 is foreground, before and after: to be decoded with `threshold=0.5`. Never worse
        there than the plain vector; neither linear nor differentiable. See `refine.py`.
        """
        array_namespace(masks=masks)
        rounds = natural_number("refine", refine)
        size = self.mask_size
        if masks.ndim < 2 or tuple(masks.shape[-2:]) != (size, size):
            msg = f"masks must be [..., {size}, {size}], got shape {tuple(masks.shape)}"
            raise ValueError(msg)
        rows, columns, order = zigzag_corner(size, self.num_coefficients)
        row_basis = cosine_basis(rows, size, size)
        column_basis = cosine_basis(columns, size, size)
        kept = np.zeros(rows * columns)
        kept[order] = 1

        def encode_chunk(chunk: Any) -> Any:
            images = as_float("masks", chunk)
            bases = constant(row_basis, images), constant(column_basis, images)
            if rounds == 0:
                corners = to_frequencies(images, *bases)
            else:
                used = constant(kept.reshape(rows, columns), images)
                corners = refined(images >= 0.5, used, *bases, rounds)
            return corners.reshape(-1, rows * columns)[:, constant(order, images)]

        vectors = _in_chunks(encode_chunk, masks.reshape(-1, size, size), size)
        return vectors.reshape(*masks.shape[:-2], self.num_coefficients)  # type: ignore[no-any-return]

    def decode(
        self,
        vectors: Array,
        threshold: float | str | None = "isodata",
        size: int | None = None,
    ) -> Array:
        """Masks [..., size, size] of vectors [..., coefficients].

        `threshold`: "isodata" splits the values of each mask into two classes and keeps the upper
        one (in a mask without contrast what is at least 0.5, so full masks stay full and empty
        ones empty); "midrange" keeps what is greater than the middle between the smallest and the
        largest value of each mask, as the published code does (a constant mask decodes to empty);
        a number keeps what is at least that number; None returns the values themselves, float and
        differentiable. `size` is the side of the grid that the cosines are evaluated on,
        `mask_size` unless given. A vector with NaN gives NaN values and an empty mask.
        """
        size = self._check_decode(vectors, threshold, size)
        rows, columns, order = zigzag_corner(self.mask_size, self.num_coefficients)
        row_basis = cosine_basis(rows, self.mask_size, size)
        column_basis = cosine_basis(columns, self.mask_size, size)

        def decode_chunk(chunk: Any) -> Any:
            coefficients = as_float("vectors", chunk)
            spectra = zeros((len(chunk), rows * columns), coefficients)
            spectra[:, constant(order, coefficients)] = coefficients
            values = from_frequencies(
                spectra.reshape(-1, rows, columns),
                constant(row_basis, coefficients),
                constant(column_basis, coefficients),
            )
            return values if threshold is None else foreground(values, threshold)

        masks = _in_chunks(decode_chunk, vectors.reshape(-1, self.num_coefficients), size)
        return masks.reshape(*vectors.shape[:-1], size, size)  # type: ignore[no-any-return]

    def _check_decode(self, vectors: Any, threshold: object, size: object) -> int:
        """The side of the decoded grid; raises if an argument of `decode` does not fit."""
        vectors_of_codec(vectors, self.num_coefficients)
        if isinstance(threshold, str) and threshold not in RULES:
            rules = ", ".join(f'"{rule}"' for rule in RULES)
            msg = f"threshold must be {rules}, a number or None, got {threshold!r}"
            raise ValueError(msg)
        if not isinstance(threshold, str):
            number_or_none("threshold", threshold)
        return self.mask_size if size is None else positive_integer("size", size)


def _in_chunks(function: Callable[[Any], Any], batch: Any, mask_size: int) -> Any:
    """What the function makes of the batch, done in pieces that fit a CPU's cache."""
    xp = array_namespace(batch=batch)
    most = _PIXELS_PER_CHUNK // mask_size**2 if is_on_host(batch) else len(batch)
    step = max(most, 1)
    starts = range(0, max(len(batch), 1), step)
    # Values of a broken vector (inf, NaN) pass through; NumPy shall not warn about each of them.
    with full_precision(batch), np.errstate(invalid="ignore", over="ignore"):
        parts = [function(batch[start : start + step]) for start in starts]
    return parts[0] if len(parts) == 1 else xp.concatenate(parts)
