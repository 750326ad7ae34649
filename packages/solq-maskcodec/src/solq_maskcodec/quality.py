"""Masks → how much of them a codec keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic

from .arrays import Array
from .codec import DCTMaskCodec
from .overlap import inner_boundary, intersection_over_union

# Boundary IoU looks at the pixels within 2 % of the diagonal (Cheng et al., CVPR 2021).
_BOUNDARY_SHARE = 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskQuality(Generic[Array]):
    """How near each mask came back, floats in 0..1 of the masks' leading shape [...].

    `iou` is that of the foreground. `two_class_iou` is the mean of the IoUs of foreground and
    background inside the box, which DCT-Mask and MEInst report: another number, lower for masks
    that fill their box and higher for slim ones. `boundary_iou` compares the inner boundaries
    only, 2 % of the box's diagonal thick. Two masks without a pixel have an IoU of 1.
    """

    iou: Array
    two_class_iou: Array
    boundary_iou: Array


def mask_quality(
    codec: DCTMaskCodec, masks: Array, *, refine: int = 0, threshold: float | str = "isodata"
) -> MaskQuality[Array]:
    """The quality of the masks [..., mask_size, mask_size] after encode and decode.

    What is at least 0.5 counts as foreground. `refine` is handed to `encode`, `threshold` to
    `decode`: the vectors of `refine` rounds want `threshold=0.5`.
    """
    if threshold is None:
        msg = "threshold must be a rule or a number, got None"
        raise ValueError(msg)
    vectors = codec.encode(masks, refine=refine)
    size = codec.mask_size
    leading = tuple(masks.shape[:-2])
    before: Any = (masks >= 0.5).reshape(-1, size, size)
    after: Any = codec.decode(vectors, threshold).reshape(-1, size, size)
    foreground = intersection_over_union(after, before)
    background = intersection_over_union(~after, ~before)
    distance = max(1, round(_BOUNDARY_SHARE * 2**0.5 * size))
    boundary = intersection_over_union(
        inner_boundary(after, distance), inner_boundary(before, distance)
    )
    return MaskQuality(
        iou=foreground.reshape(leading),
        two_class_iou=((foreground + background) / 2).reshape(leading),
        boundary_iou=boundary.reshape(leading),
    )
