"""What the data layer hands on: the objects of one image, and a batch of images with theirs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from solq_train.data.masks import InstanceMasks


@dataclass(frozen=True, kw_only=True)
class Objects:
    """The objects of one image on their way through the transforms, in the pixels of the image."""

    image_id: int
    image_size: tuple[int, int]  # after the transforms so far
    original_size: tuple[int, int]  # of the image file
    boxes: Float32[Tensor, "instances 4"]  # xyxy
    labels: Int64[Tensor, " instances"]  # class slots
    masks: InstanceMasks  # not decoded

    def target(self, mask_size: int | None, *, image_masks: bool) -> Target:
        """What a network learns from them: masks in boxes of this size, in the image, or none."""
        return Target(
            image_id=self.image_id,
            image_size=self.image_size,
            original_size=self.original_size,
            boxes=self.boxes,
            labels=self.labels,
            box_masks=None if mask_size is None else self.masks.in_boxes(self.boxes, mask_size),
            image_masks=self.masks.dense() if image_masks else None,
        )


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a network learns of one image, in the pixels of the image as the transforms left it."""

    image_id: int
    image_size: tuple[int, int]  # after the transforms
    original_size: tuple[int, int]  # of the image file
    boxes: Float32[Tensor, "instances 4"]  # xyxy
    labels: Int64[Tensor, " instances"]  # class slots
    box_masks: Bool[Tensor, "instances size size"] | None = None  # in the frame of each box
    image_masks: Bool[Tensor, "instances height width"] | None = None  # for spatial masks

    def to(self, device: torch.device | str) -> Target:
        """The same target with its tensors on a device."""
        return Target(
            image_id=self.image_id,
            image_size=self.image_size,
            original_size=self.original_size,
            boxes=self.boxes.to(device),
            labels=self.labels.to(device),
            box_masks=None if self.box_masks is None else self.box_masks.to(device),
            image_masks=None if self.image_masks is None else self.image_masks.to(device),
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images of any sizes, unpadded, each with its target.

    Pixels stay bytes until they are on the device that they are normalised on.
    """

    images: list[UInt8[Tensor, "3 _ _"]]
    targets: list[Target]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on a device."""
        return Batch(
            images=[image.to(device) for image in self.images],
            targets=[target.to(device) for target in self.targets],
        )
