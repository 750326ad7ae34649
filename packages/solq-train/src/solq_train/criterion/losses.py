"""One function per loss term."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from solq_maskcodec import MaskCodec
from solq_model.boxes import cxcywh_to_xyxy, generalized_iou
from solq_model.mask_logits import CHUNK, MaskLogits
from solq_train.criterion.matcher import FOCAL_ALPHA, FOCAL_GAMMA

# Decoded masks lie around 0..1; times this they are logits of about -4..4.
MASK_LOGIT_SCALE = 8.0


def focal_loss(
    logits: Float[Tensor, "*shape"], one_hot: Float[Tensor, "*shape"], num_objects: float
) -> Float[Tensor, ""]:
    """Focal loss (arXiv:1708.02002), the sum over all logits, per object."""
    probability = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, one_hot, reduction="none")
    of_target = probability * one_hot + (1 - probability) * (1 - one_hot)
    alpha = FOCAL_ALPHA * one_hot + (1 - FOCAL_ALPHA) * (1 - one_hot)
    return (alpha * cross_entropy * (1 - of_target) ** FOCAL_GAMMA).sum() / num_objects


def box_l1_loss(
    boxes: Float[Tensor, "pairs 4"], targets: Float[Tensor, "pairs 4"], num_objects: float
) -> Float[Tensor, ""]:
    """L1 distance of normalised cxcywh boxes, per object."""
    return (boxes - targets).abs().sum() / num_objects


def giou_loss(
    boxes: Float[Tensor, "pairs 4"], targets: Float[Tensor, "pairs 4"], num_objects: float
) -> Float[Tensor, ""]:
    """One minus the generalised IoU of normalised cxcywh boxes, per object."""
    giou = generalized_iou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(targets))
    return (1 - giou).sum() / num_objects


def vector_loss(
    vectors: Float[Tensor, "pairs coefficients"],
    targets: Float[Tensor, "pairs coefficients"],
    deviation: Float[Tensor, " coefficients"] | None,
    *,
    distance: Literal["l1", "mse"],
    reduction: Literal["mean", "sum"],
    num_objects: float,
) -> Float[Tensor, ""]:
    """Distance of mask vectors, in units of `deviation` where one is given.

    mean: over pairs and coefficients (solq.py:376; solq_pca.py:369, where every object has a
    query); sum: over coefficients, per object (fast_solq.py:363-366, solq.py:374).
    Raw coefficients are the published loss (solq.py:373-376); there the few low frequencies, whose
    deviation is 30 times that of the last ones, carry nearly all of it.
    """
    if not len(vectors):
        return vectors.sum() * 0
    difference = vectors - targets
    difference = difference if deviation is None else difference / deviation
    size = difference.abs() if distance == "l1" else difference.square()
    return size.mean() if reduction == "mean" else size.sum() / num_objects


def soft_dice_loss(
    vectors: Float[Tensor, "pairs coefficients"],
    box_masks: Bool[Tensor, "pairs size size"],
    codec: MaskCodec,
    num_objects: float,
) -> Float[Tensor, ""]:
    """Dice of the decoded soft masks with squares in the denominator (solq_pca.py:370-377)."""
    if not len(vectors):
        return vectors.sum() * 0
    soft = codec.decode(vectors, threshold=None).flatten(1)
    target = box_masks.flatten(1).to(soft.dtype)
    overlap = 2 * (soft * target).sum(1)
    total = soft.square().sum(1) + target.square().sum(1) + 1e-5
    return (1 - overlap / total).sum() / num_objects


def mask_loss(
    vectors: Float[Tensor, "pairs coefficients"],
    box_masks: Bool[Tensor, "pairs size size"],
    codec: MaskCodec,
    size: int,
    num_objects: float,
) -> Float[Tensor, ""]:
    """Cross-entropy plus dice of the decoded masks on a grid of `size` x `size`, per object.

    It weighs errors by area, where the L1 on coefficients weighs all frequencies alike.
    """
    if not len(vectors):
        return vectors.sum() * 0
    decoded: Tensor = codec.decode(vectors, threshold=None, size=size)
    logits = MASK_LOGIT_SCALE * (decoded - 0.5)
    target = F.adaptive_avg_pool2d(box_masks.to(logits.dtype), size)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    of_pixels = cross_entropy.mean((-2, -1)).sum() / num_objects
    return of_pixels + dice_loss(logits, target, num_objects)


def dice_loss(
    logits: Float[Tensor, "pairs height width"],
    targets: Float[Tensor, "pairs height width"],
    num_objects: float,
) -> Float[Tensor, ""]:
    """One minus the overlap of masks in shares of their areas (arXiv:1606.04797), per object."""
    probability = logits.sigmoid()
    overlap = 2 * (probability * targets).sum((-2, -1))
    total = probability.sum((-2, -1)) + targets.sum((-2, -1))
    return (1 - (overlap + 1) / (total + 1)).sum() / num_objects


def spatial_mask_losses(
    found: MaskLogits, targets: Bool[Tensor, "pairs height width"], num_objects: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Focal and dice loss of spatial masks at every pixel that the network saw, per object.

    The pixels of the padding count as not of the object, as published (deformable_detr.py:296).
    """
    focal = dice = found.logits.sum() * 0
    for start in range(0, len(targets), CHUNK):
        some = slice(start, start + CHUNK)
        # Masks in full size are made again for the backward pass: at 800 x 1088 pixels, each of
        # the dozen tensors on the way from 100 masks to their losses has 348 MB.
        losses = checkpoint(
            _pixel_losses, found.select(some), targets[some], num_objects, use_reentrant=False
        )
        focal, dice = focal + losses[0], dice + losses[1]
    return focal, dice


def _pixel_losses(found: MaskLogits, targets: Tensor, num_objects: float) -> tuple[Tensor, Tensor]:
    logits = found.enlarge()
    height, width = logits.shape[1:]
    beyond = (0, width - targets.shape[2], 0, height - targets.shape[1])
    expected = F.pad(targets.to(logits), beyond)
    focal = focal_loss(logits, expected, num_objects * height * width)
    return focal, dice_loss(logits, expected, num_objects)


@torch.no_grad()
def class_error(logits: Float[Tensor, "pairs classes"], labels: Tensor) -> Float[Tensor, ""]:
    """Percentage of matched queries whose best class is wrong; 100 without any object."""
    if not len(labels):
        return logits.new_tensor(100.0)
    return 100 - 100 * (logits.argmax(-1) == labels).float().mean()
