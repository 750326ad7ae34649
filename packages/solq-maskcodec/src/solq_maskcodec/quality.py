"""Masks → how much of them a codec keeps."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Generic

from .arrays import Array, as_float, concat, reshape
from .image.boxed_rle import steps_of_batch
from .overlap import inner_boundary, intersection_over_union
from .protocol import OWN, MaskCodec, Threshold
from .validate import masks_of_codec, natural_number

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
    codec: MaskCodec, masks: Array, *, refine: int = 0, threshold: Threshold = OWN
) -> MaskQuality[Array]:
    """The quality of the masks [..., mask_size, mask_size] after encode and decode.

    What is at least 0.5 counts as foreground. `refine` is handed to `encode` of a codec that knows
    it, `threshold` to `decode`: the vectors of `refine` rounds want `threshold=0.5`. Masks go
    through some at a time, so memory does not grow with their number.
    """
    check_threshold(codec, threshold)
    size = codec.mask_size
    masks_of_codec(masks, size)
    leading = tuple(masks.shape[:-2])
    batch = reshape(masks, (-1, size, size))
    parts = []
    # A batch of none still tells which dtype the results have.
    for step in steps_of_batch(max(batch.shape[0], 1), size):
        part = batch[step, ...]
        decoded = codec.decode(encode(codec, part, refine), threshold)
        parts.append(overlaps(decoded, as_float("masks", part) >= 0.5))
    iou, two_class_iou, boundary_iou = (
        reshape(concat([*values]), leading) for values in zip(*parts, strict=True)
    )
    return MaskQuality(iou=iou, two_class_iou=two_class_iou, boundary_iou=boundary_iou)


def check_threshold(codec: MaskCodec, threshold: Threshold) -> None:
    """Raises if masks decoded like this would be soft."""
    own = getattr(codec, "threshold", 0.5)
    if threshold is None or (threshold is OWN and own is None):
        msg = "threshold must be a rule or a number to get masks, got None"
        raise ValueError(msg)


def encode(codec: MaskCodec, masks: Any, refine: int) -> Any:
    """The codec's vectors of the masks, after `refine` rounds where there shall be any."""
    if natural_number("refine", refine) == 0:
        return codec.encode(masks)
    if "refine" not in inspect.signature(codec.encode).parameters:
        msg = f"refine must be 0 for {type(codec).__name__}, which does not refine, got {refine}"
        raise ValueError(msg)
    return codec.encode(masks, refine=refine)  # type: ignore[call-arg]


def overlaps(decoded: Any, masks: Any) -> tuple[Any, Any, Any]:
    """Foreground, two-class and boundary IoU, [batch] each, of bool masks [batch, size, size]."""
    foreground = intersection_over_union(decoded, masks)
    background = intersection_over_union(~decoded, ~masks)
    distance = max(1, round(_BOUNDARY_SHARE * 2**0.5 * masks.shape[-1]))
    boundary = intersection_over_union(
        inner_boundary(decoded, distance), inner_boundary(masks, distance)
    )
    return foreground, (foreground + background) / 2, boundary
