"""Pairs of masks → how much they have in common."""

from __future__ import annotations

from typing import Any

from .arrays import array_namespace, zeros


def intersection_over_union(masks: Any, others: Any) -> Any:
    """Shared pixels as a share of all, [...], of bool masks [..., height, width]; 1 for no pixels.

    float64 in NumPy, float32 in torch.
    """
    xp = array_namespace(masks=masks, others=others)
    shared = (masks & others).sum((-2, -1))
    union = (masks | others).sum((-2, -1))
    return xp.where(union == 0, 1.0, shared / xp.clip(union, 1, None))


def inner_boundary(masks: Any, distance: int) -> Any:
    """The pixels of bool masks [batch, height, width] at most `distance` from the background.

    Distance is the larger of the two along the axes. All outside of the mask is background.
    """
    batch, height, width = masks.shape
    padded = zeros((batch, height + 2 * distance, width + 2 * distance), masks, dtype=bool)
    padded[:, distance:-distance, distance:-distance] = masks
    for _ in range(distance):
        padded = padded[:, :-2] & padded[:, 1:-1] & padded[:, 2:]
    for _ in range(distance):
        padded = padded[:, :, :-2] & padded[:, :, 1:-1] & padded[:, :, 2:]
    return masks & ~padded
