"""Masks → the spectra whose thresholded images are nearest to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Table, array_namespace
from ..overlap import intersection_over_union
from .dct import CornerTransform

# Foreground is asked to be at least 1 - _MARGIN and background at most _MARGIN. After ten rounds,
# 297 real masks have a mean IoU of 0.982, 0.983, 0.983 with margins of 0, 0.3, 0.4 (plain 0.969);
# with noise of 0.3 standard deviations in the vectors 0.974, 0.954, 0.944 (plain 0.946).
_MARGIN = 0.3

# Nesterov's momentum (k + _LEAD) / (k + _LEAD + 3), as if _LEAD rounds lay behind already: the
# mean IoU of real masks after ten rounds is 0.0014 higher than from a start at rest, and after
# 200 rounds the same.
_LEAD = 20

_LEVELS = Table(np.array([0, 1, -np.inf, _MARGIN, 1 - _MARGIN, np.inf]))


def refined(images: Any, transform: CornerTransform, rounds: int) -> Any:
    """Corners of spectra [batch, rows, columns] of float images, after `rounds` steps.

    The images [batch, height, width] are masks where they are at least 0.5, which NaN is not. With
    `x = Rᵀ g C` the image of a corner `g`, a step goes down the gradient of

        ½ Σ max(0, 0.7 - x)² over the foreground + ½ Σ max(0, x - 0.3)² over the background,

    which asks nothing of pixels that lie on their side of the threshold already. The bases are
    orthonormal, hence the gradient is 1-Lipschitz and a step of 1 is safe:
    `g ← g + R (clip(x, low, high) - x) Cᵀ` where a coefficient is kept, from the plain coefficients
    on. Where that makes a mask's IoU at 0.5 lower, the plain ones are given back.
    """
    xp = array_namespace(images=images)
    levels = _LEVELS.like(images)
    zero, one, minus_infinity, most, least, infinity = (levels[i] for i in range(6))
    masks = images >= 0.5
    low = xp.where(masks, least, minus_infinity)
    high = xp.where(masks, infinity, most)
    kept = transform.is_kept(images)
    plain = kept * transform.corners(xp.where(masks, one, zero))
    current = ahead = plain
    for step in range(rounds):
        decoded = transform.images(ahead)
        # Twice as fast as `clip` with arrays as bounds.
        missing = xp.minimum(xp.maximum(decoded, low), high)
        missing -= decoded
        reached = ahead + kept * transform.corners(missing)
        momentum = (step + _LEAD) / (step + _LEAD + 3)
        ahead = reached + momentum * (reached - current)
        current = reached

    def quality(corners: Any) -> Any:
        return intersection_over_union(transform.images(corners) >= 0.5, masks)

    is_better = quality(current) >= quality(plain)
    return xp.where(is_better[:, None, None], current, plain)
