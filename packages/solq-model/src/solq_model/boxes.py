"""Boxes: cxcywh ↔ xyxy, logits, generalised IoU."""

import torch
from jaxtyping import Float
from torch import Tensor


def cxcywh_to_xyxy(boxes: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Corners (x0, y0, x1, y1) of boxes given by centre and size."""
    cx, cy, width, height = boxes.unbind(-1)
    return torch.stack(
        [cx - 0.5 * width, cy - 0.5 * height, cx + 0.5 * width, cy + 0.5 * height], dim=-1
    )


def xyxy_to_cxcywh(boxes: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Centre and size of boxes given by their corners."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    return torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=-1)


def at_least_float32(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The values as they are, or widened from 16 bits.

    For boxes and their logits, also in a network of 16 bits and under autocast: bfloat16 tells
    places apart that lie 1/256 of the image from each other, and sums of its rounding drift.
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))


def inverse_sigmoid(value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The logit, finite at 0 and 1: both ends are cut at 1e-5 as in Deformable DETR."""
    value = value.clamp(min=0, max=1)
    return torch.log(value.clamp(min=1e-5) / (1 - value).clamp(min=1e-5))


def generalized_iou(
    boxes: Float[Tensor, "*#batch 4"], others: Float[Tensor, "*#batch 4"]
) -> Float[Tensor, "*#batch"]:
    """Generalised IoU (arXiv:1902.09630) of xyxy boxes, element by element with broadcasting."""
    areas = [(b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1]) for b in (boxes, others)]
    low, high = torch.minimum(boxes, others), torch.maximum(boxes, others)
    overlap = (low[..., 2:] - high[..., :2]).clamp(min=0).prod(-1)
    union = areas[0] + areas[1] - overlap
    hull = (high[..., 2:] - low[..., :2]).clamp(min=0).prod(-1)
    return overlap / union - (hull - union) / hull
