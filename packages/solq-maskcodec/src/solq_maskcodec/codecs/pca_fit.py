"""Masks → their mean and principal components, exactly and in flat memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import as_float, to_numpy
from .log_odds import log_odds

# 16 MiB in float64: large enough for matrix products at full speed.
_PIXELS_PER_BLOCK = 2**21

# Loadings this close to the largest count as equal to it: the components of symmetric masks have
# pairs of opposite loadings, between which rounding would choose.
_EQUAL = 1 - 1e-6


class PrincipalComponents(NamedTuple):
    """The directions in which masks vary most, orthonormal, float64."""

    components: NDArray[np.float64]  # [coefficients, pixels]
    mean: NDArray[np.float64]  # [pixels]
    explained_variance: NDArray[np.float64]  # [coefficients], largest first


def principal_components(masks: Any, num_coefficients: int, *, logit: bool) -> PrincipalComponents:
    """The first principal components of masks [instances, size, size], or of their log-odds.

    From the eigenvectors of the pixels' covariance or, where there are fewer masks than pixels, of
    the masks' Gram matrix. See `PCAMaskCodec.fit`.
    """
    centred = _CentredMasks(masks, logit)
    count, pixels = centred.shape
    of_pixels = pixels <= count
    matrix = centred.scatter() if of_pixels else centred.gram()
    eigenvalues, eigenvectors = np.linalg.eigh(matrix)
    # Masks that do not vary leave rounding errors of their mean.
    largest = eigenvalues[-1] + count * (centred.mean @ centred.mean)
    rank = int((eigenvalues > max(count, pixels) * np.finfo(np.float64).eps * largest).sum())
    if num_coefficients > rank:
        msg = (
            "num_coefficients must be at most the number of directions in which the masks vary, "
            f"{rank} for {count} masks of {pixels} pixels, got {num_coefficients}"
        )
        raise ValueError(msg)
    chosen = eigenvectors[:, : -num_coefficients - 1 : -1]
    if not of_pixels:
        # What rounding adds along the first components shows in the last ones; QR takes it away.
        chosen = np.linalg.qr(centred.combined(chosen)).Q
    magnitudes = np.abs(chosen)
    first_of_largest = np.argmax(magnitudes >= _EQUAL * magnitudes.max(axis=0), axis=0)
    signs = np.sign(chosen[first_of_largest, np.arange(num_coefficients)])
    return PrincipalComponents(
        components=np.ascontiguousarray((chosen * signs).T),
        mean=centred.mean,
        explained_variance=eigenvalues[: -num_coefficients - 1 : -1] / (count - 1),
    )


class _CentredMasks:
    """Masks as rows [instances, pixels] less their mean, float64, some at a time."""

    def __init__(self, masks: Any, logit: bool) -> None:
        self._masks = masks
        self._logit = logit
        self.shape = masks.shape[0], masks.shape[1] * masks.shape[2]
        self.mean: NDArray[np.float64] = np.zeros(self.shape[1])
        total = sum(rows.sum(axis=0) for _, rows in self._blocks())
        self.mean = total / masks.shape[0]

    def _blocks(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        count, pixels = self.shape
        step = max(_PIXELS_PER_BLOCK // pixels, 1)
        for start in range(0, count, step):
            block = slice(start, min(start + step, count))
            yield block, self._rows(block)

    def _rows(self, block: slice) -> NDArray[np.float64]:
        masks = as_float("masks", to_numpy(self._masks[block, ...])).astype(np.float64)
        is_finite = np.isfinite(masks).all(axis=(1, 2))
        if not is_finite.all():
            index = block.start + int(np.argmin(is_finite))
            msg = f"masks must be finite, got NaN or infinity at index {index}"
            raise ValueError(msg)
        values = log_odds(masks) if self._logit else masks
        rows: NDArray[np.float64] = values.reshape(len(masks), -1) - self.mean
        return rows

    def scatter(self) -> NDArray[np.float64]:
        """The sum over masks of products of pixels, [pixels, pixels]."""
        total: NDArray[np.float64] = np.zeros((self.shape[1],) * 2)
        products = np.empty_like(total)
        for _, rows in self._blocks():
            total += np.matmul(rows.T, rows, out=products)
        return total

    def gram(self) -> NDArray[np.float64]:
        """The sum over pixels of products of masks, [instances, instances].

        Only the lower triangle, which is all that `eigh` reads.
        """
        products: NDArray[np.float64] = np.zeros((self.shape[0],) * 2)
        for block, rows in self._blocks():
            for other, columns in self._blocks():
                if other.start > block.start:
                    break
                products[block, other] = rows @ columns.T
        return products

    def combined(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums of the masks, [pixels, combinations], with weights [instances, combinations]."""
        total: NDArray[np.float64] = np.zeros((self.shape[1], weights.shape[1]))
        for block, rows in self._blocks():
            total += rows.T @ weights[block]
        return total
