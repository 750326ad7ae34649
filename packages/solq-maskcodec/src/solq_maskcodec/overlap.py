"""Pairs of masks → how much they have in common."""

from __future__ import annotations

from typing import Any

from .arrays import array_namespace, concat, count_true, zeros


def intersection_over_union(masks: Any, others: Any) -> Any:
    """Shared pixels as a share of all, [...], of bool masks [..., height, width]; 1 for no pixels.

    float64 in NumPy, else float32.
    """
    xp = array_namespace(masks=masks, others=others)
    shared = count_true(masks & others)
    union = count_true(masks | others)
    return xp.where(union == 0, 1.0, shared / xp.clip(union, 1.0, None))


def inner_boundary(masks: Any, distance: int) -> Any:
    """The pixels of bool masks [batch, height, width] at most `distance` from the background.

    Distance is the larger of the two along the axes. All outside of the mask is background.
    """
    batch, height, width = masks.shape
    outside = zeros((batch, distance, width), masks)
    kept = concat([outside, masks, outside], 1)
    for _ in range(2 * distance):
        kept = kept[:, 1:, :] & kept[:, :-1, :]
    outside = zeros((batch, height, distance), masks)
    kept = concat([outside, kept, outside], 2)
    for _ in range(2 * distance):
        kept = kept[:, :, 1:] & kept[:, :, :-1]
    return masks & ~kept
