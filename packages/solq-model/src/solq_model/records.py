"""What crosses file borders: padded images, feature tokens, predictions, instances."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from solq_maskcodec import MaskCodec, paste_masks
from solq_model.mask_logits import MaskLogits
from solq_model.spatial_masks import SpatialMasks


@dataclass(frozen=True, kw_only=True)
class PaddedImages:
    """Images of different sizes in one tensor, padded with zeros at the bottom and the right."""

    tensors: Float[Tensor, "batch 3 height width"]
    padding: Bool[Tensor, "batch height width"]  # True on padding

    @classmethod
    def from_list(
        cls, images: list[Tensor], padded_size: tuple[int, int] | None = None
    ) -> PaddedImages:
        """Images `[3, height, width]` of any sizes, padded to the largest height and width.

        Or to `padded_size` (height, width), which must hold each of them.
        """
        if not images:
            msg = "images must hold at least one [3, height, width] tensor, got an empty list"
            raise ValueError(msg)
        for index, image in enumerate(images):
            if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
                msg = f"images[{index}] must be [3, height, width], got shape {tuple(image.shape)}"
                raise ValueError(msg)
        largest = tuple(max(image.shape[axis] for image in images) for axis in (1, 2))
        height, width = padded_size or largest
        if height < largest[0] or width < largest[1]:
            msg = f"padded_size must be at least {largest} (height, width), got {padded_size}"
            raise ValueError(msg)
        tensors = images[0].new_zeros(len(images), 3, height, width)
        padding = torch.ones(len(images), height, width, dtype=torch.bool, device=tensors.device)
        for index, image in enumerate(images):
            tensors[index, :, : image.shape[1], : image.shape[2]] = image
            padding[index, : image.shape[1], : image.shape[2]] = False
        return cls(tensors=tensors, padding=padding)


@dataclass(frozen=True, kw_only=True)
class FeatureMap:
    """One level of features with its padding and position encoding."""

    features: Float[Tensor, "batch hidden height width"]
    positions: Float[Tensor, "batch hidden height width"]
    padding: Bool[Tensor, "batch height width"]  # True on padding


@dataclass(frozen=True, kw_only=True)
class Memory:
    """All feature levels as one row of tokens, with what attention must know of their layout."""

    tokens: Float[Tensor, "batch tokens hidden"]
    positions: Float[Tensor, "batch tokens hidden"]
    padding: Bool[Tensor, "batch tokens"]  # True on padding
    level_sizes: tuple[tuple[int, int], ...]  # (height, width) of each level
    spatial_shapes: Int[Tensor, "levels 2"]  # the same as a tensor
    level_start_index: Int[Tensor, " levels"]
    valid_ratios: Float[Tensor, "batch levels 2"]  # (x, y): share of each level that is no padding

    def coarsest_level(
        self,
    ) -> tuple[Float[Tensor, "batch hidden height width"], Bool[Tensor, "batch height width"]]:
        """The last level's tokens as a map, and its padding."""
        size = self.level_sizes[-1]
        count = size[0] * size[1]
        tokens = self.tokens[:, -count:].transpose(1, 2).unflatten(2, size)
        return tokens, self.padding[:, -count:].unflatten(1, size)


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """What the encoder proposes at each token; the first stage of two."""

    logits: Float[Tensor, "batch tokens classes"]
    boxes: Float[Tensor, "batch tokens 4"]  # cxcywh in 0..1
    class_agnostic: bool  # trained on "object or not" in class slot 0, as published


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What the network says of each query."""

    logits: Float[Tensor, "batch queries classes"]
    boxes: Float[Tensor, "batch queries 4"]  # cxcywh in 0..1 of the image without its padding
    mask_vectors: Float[Tensor, "batch queries coefficients"] | None  # None: no masks here
    auxiliary: tuple[Predictions, ...] = ()  # the decoder layers before the last, in order
    proposals: Proposals | None = None
    spatial_masks: SpatialMasks | None = None  # of the last decoder layer, instead of vectors


@dataclass(frozen=True, kw_only=True)
class Instances:
    """The objects found in one image, best first."""

    scores: Float[Tensor, " instances"]
    labels: Int[Tensor, " instances"]  # class slots of the network
    boxes: Float[Tensor, "instances 4"]  # (x0, y0, x1, y1) in pixels
    mask_vectors: Float[Tensor, "instances coefficients"] | None  # None: a detector of boxes
    codec: MaskCodec | None  # that the vectors are written in
    image_size: tuple[int, int]  # (height, width)
    mask_logits: MaskLogits | None = None  # instead of vectors
    queries: Int[Tensor, " instances"] | None = None  # of the decoder; None: found otherwise

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def has_masks(self) -> bool:
        """Whether there are masks; without, `masks`, `box_masks` and `rle` are ValueErrors."""
        return self.mask_vectors is not None or self.mask_logits is not None

    @property
    def box_masks(self) -> Bool[Tensor, "instances size size"]:
        """The masks, each in the frame of its box; of mask vectors only."""
        vectors, codec = self._encoded()
        decoded: Tensor = codec.decode(vectors)
        return decoded

    @property
    def masks(self) -> Bool[Tensor, "instances height width"]:
        """The masks in the image. Memory: instances x height x width bytes; see `rle`."""
        if self.mask_logits is not None:
            return self.mask_logits.masks(self.image_size)
        pasted: Tensor = paste_masks(self.box_masks, self.boxes, self.image_size)
        return pasted

    def rle(self) -> list[dict[str, object]]:
        """COCO RLE of each mask (`size`, compressed `counts` as str).

        No full-size mask is made of mask vectors; a few at a time are of spatial masks.
        """
        if self.mask_logits is not None:
            return self.mask_logits.rle(self.image_size)
        vectors, codec = self._encoded()
        return codec.decode_to_rle(vectors, self.boxes.float(), self.image_size)

    def select(self, keep: Tensor) -> Instances:
        """The instances that an index or a boolean mask picks."""
        return replace(
            self,
            scores=self.scores[keep],
            labels=self.labels[keep],
            boxes=self.boxes[keep],
            mask_vectors=None if self.mask_vectors is None else self.mask_vectors[keep],
            mask_logits=None if self.mask_logits is None else self.mask_logits.select(keep),
            queries=None if self.queries is None else self.queries[keep],
        )

    def to(self, device: torch.device | str) -> Instances:
        """The instances with their tensors on a device."""
        return replace(
            self,
            scores=self.scores.to(device),
            labels=self.labels.to(device),
            boxes=self.boxes.to(device),
            mask_vectors=None if self.mask_vectors is None else self.mask_vectors.to(device),
            queries=None if self.queries is None else self.queries.to(device),
        )

    def _encoded(self) -> tuple[Tensor, MaskCodec]:
        if self.mask_vectors is None or self.codec is None:
            found = "boxes only" if self.mask_logits is None else "spatial masks; see `masks`"
            msg = f"instances must have mask vectors and a codec to give masks, got {found}"
            raise ValueError(msg)
        return self.mask_vectors, self.codec
