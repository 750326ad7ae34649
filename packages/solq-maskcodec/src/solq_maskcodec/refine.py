"""Masks → the spectra whose thresholded images are nearest to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import array_namespace, constant
from .dct import from_frequencies, to_frequencies
from .overlap import intersection_over_union

# Foreground is asked to be at least 1 - _MARGIN and background at most _MARGIN. After ten rounds,
# 297 real masks have a mean IoU of 0.982, 0.983, 0.983 with margins of 0, 0.3, 0.4 (plain 0.969);
# with noise of 0.3 standard deviations in the vectors 0.974, 0.954, 0.944 (plain 0.946).
_MARGIN = 0.3

# Nesterov's momentum (k + _LEAD) / (k + _LEAD + 3), as if _LEAD rounds lay behind already: the
# mean IoU of real masks after ten rounds is 0.0014 higher than from a start at rest, and after
# 200 rounds the same.
_LEAD = 20


def refined(masks: Any, kept: Any, row_basis: Any, column_basis: Any, rounds: int) -> Any:
    """Corners of spectra [batch, rows, columns] of bool masks, after `rounds` steps.

    masks are [batch, height, width]; `kept` [rows, columns] is 1 where a coefficient may be used,
    else 0. With `x = Rᵀ g C` the image of a corner `g`, a step goes down the gradient of

        ½ Σ max(0, 0.7 - x)² over the foreground + ½ Σ max(0, x - 0.3)² over the background,

    which asks nothing of pixels that lie on their side of the threshold already. The bases are
    orthonormal, hence the gradient is 1-Lipschitz and a step of 1 is safe:
    `g ← g + kept · R (clip(x, low, high) - x) Cᵀ`, from the plain coefficients on. Where that
    makes a mask's IoU at 0.5 lower, the plain ones are given back.
    """
    xp = array_namespace(masks=masks)
    numbers = constant(np.array([0, 1, -np.inf, _MARGIN, 1 - _MARGIN, np.inf]), kept)
    zero, one, minus_infinity, most, least, infinity = numbers
    low = xp.where(masks, least, minus_infinity)
    high = xp.where(masks, infinity, most)
    plain = kept * to_frequencies(xp.where(masks, one, zero), row_basis, column_basis)
    current = ahead = plain
    for step in range(rounds):
        images = from_frequencies(ahead, row_basis, column_basis)
        # Twice as fast as `clip` with arrays as bounds.
        missing = xp.minimum(xp.maximum(images, low), high)
        missing -= images
        reached = ahead + kept * to_frequencies(missing, row_basis, column_basis)
        momentum = (step + _LEAD) / (step + _LEAD + 3)
        ahead = reached + momentum * (reached - current)
        current = reached

    def quality(corners: Any) -> Any:
        decoded = from_frequencies(corners, row_basis, column_basis) >= 0.5
        return intersection_over_union(decoded, masks)

    is_better = quality(current) >= quality(plain)
    return xp.where(is_better[:, None, None], current, plain)
