"""Ground truth → what the losses compare with; made once per batch, not once per decoder layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from solq_maskcodec import MaskCodec
from solq_model.boxes import xyxy_to_cxcywh
from solq_train.data.records import Target


@dataclass(frozen=True, kw_only=True)
class EncodedTargets:
    """The objects of all images of a batch, one after another."""

    counts: tuple[int, ...]  # objects of each image
    labels: Int[Tensor, " instances"]  # class slots
    boxes: Float[Tensor, "instances 4"]  # cxcywh in 0..1 of each object's own image
    box_masks: Bool[Tensor, "instances size size"] | None  # in the frame of each box
    mask_vectors: Float[Tensor, "instances coefficients"] | None  # None: no vectors are taught
    # [instances, height, width] of each image, where the data keeps them; for spatial masks
    image_masks: tuple[Bool[Tensor, "_ _ _"], ...] = ()

    @property
    def offsets(self) -> list[int]:
        """Where the objects of each image begin."""
        starts = [0]
        for count in self.counts[:-1]:
            starts.append(starts[-1] + count)
        return starts


@torch.no_grad()
def encode_targets(
    targets: Sequence[Target], codec: MaskCodec | None, device: torch.device | str = "cpu"
) -> EncodedTargets:
    """Boxes normalised by their image, and the masks in them encoded.

    Without a codec there are no mask vectors.
    """
    box_masks = None if codec is None else _box_masks(targets).to(device, non_blocking=True)
    boxes = []
    for target in targets:
        height, width = target.image_size
        scale = torch.tensor([width, height, width, height], dtype=torch.float32)
        boxes.append(xyxy_to_cxcywh(target.boxes.float()) / scale)
    return EncodedTargets(
        counts=tuple(len(t.labels) for t in targets),
        labels=torch.cat([t.labels for t in targets]).to(device),
        boxes=torch.cat(boxes).to(device),
        box_masks=box_masks,
        mask_vectors=None if codec is None else codec.encode(box_masks),
        image_masks=tuple(t.image_masks for t in targets if t.image_masks is not None),
    )


def _box_masks(targets: Sequence[Target]) -> Bool[Tensor, "instances size size"]:
    masks = [target.box_masks for target in targets if target.box_masks is not None]
    if len(masks) < len(targets):
        msg = "targets must have box_masks for a codec to encode, got None"
        raise ValueError(msg)
    return torch.cat(masks)
