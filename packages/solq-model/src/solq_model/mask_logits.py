"""Mask logits on a coarse grid over the network's image → masks of the image, dense or as RLE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from solq_maskcodec import masks_to_rle

# Masks that exist in full size at a time: 16 of 800 x 1333 pixels in float32 are 68 MB.
CHUNK = 16


@dataclass(frozen=True, kw_only=True)
class MaskLogits:
    """Masks of one image on the coarse grid of the head, enlarged where they are asked for."""

    logits: Float[Tensor, "instances rows columns"]
    image_padding: Bool[Tensor, "height width"]  # of the pixels the grid lies over

    def enlarge(self) -> Float[Tensor, "instances height width"]:
        """The logits at each pixel that the network saw, padding too."""
        size = self.image_padding.shape
        return F.interpolate(self.logits[:, None], size=size, mode="bilinear")[:, 0]

    def masks(self, image_size: tuple[int, int]) -> Bool[Tensor, "instances height width"]:
        """The masks in an image of this size (height, width)."""
        masks = self.logits.new_empty(len(self.logits), *image_size, dtype=torch.bool)
        for start, some in self._chunks(image_size):
            masks[start : start + len(some)] = some
        return masks

    def rle(self, image_size: tuple[int, int]) -> list[dict[str, object]]:
        """COCO RLE of each mask; a few masks at a time have full size."""
        return [rle for _, some in self._chunks(image_size) for rle in masks_to_rle(some)]

    def select(self, keep: Tensor | slice) -> MaskLogits:
        """Those that an index, a slice or a boolean mask picks."""
        return replace(self, logits=self.logits[keep])

    @torch.no_grad()
    def _chunks(self, image_size: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
        # As published (segmentation.py:374-386): pixels of the network's image are decided, those
        # of the asked image are its nearest.
        height, width = (~self.image_padding).sum(0).max(), (~self.image_padding).sum(1).max()
        for start in range(0, len(self.logits), CHUNK):
            part = self.select(slice(start, start + CHUNK))
            inside = (part.enlarge()[:, :height, :width].sigmoid() > 0.5).float()
            resized = F.interpolate(inside[:, None], size=image_size, mode="nearest")[:, 0]
            yield start, resized > 0.5
