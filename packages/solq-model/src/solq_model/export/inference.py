"""What is exported: images of one size → detections, all of it tensors."""

from __future__ import annotations

from copy import deepcopy
from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from solq_model.boxes import cxcywh_to_xyxy
from solq_model.export.sampling import Sampling, use_sampling
from solq_model.postprocess import best_pairs
from solq_model.preprocess import IMAGENET_MEAN, IMAGENET_STD
from solq_model.records import PaddedImages
from solq_model.solq import SOLQ

Pixels = Literal["normalized", "uint8"]


class InferenceModule(nn.Module):
    """A copy of a model that ends in detections, with no Python left between its tensors.

    Images are `[batch, 3, height, width]`, already resized, all of one size (there is no padding);
    RGB. `pixels` says what their numbers are: "normalized" by ImageNet's mean and deviation, as
    `Preprocessing` does it, or "uint8" 0..255, which the module then normalises.

    The outputs have names, because that is what both file formats keep of them:

    - `scores` `[batch, top_k]`, falling, in 0..1, float32;
    - `labels` `[batch, top_k]`, class slots (the file's metadata says which category each is);
    - `boxes` `[batch, top_k, 4]`, (x0, y0, x1, y1) in 0..1 of the image, so that they need no
      knowledge of how it was resized; they may reach outside;
    - `mask_vectors` `[batch, top_k, coefficients]`, float32, where the model has them;
    - with `masks`, also `masks` `[batch, top_k, size, size]`, bool, each in the frame of its box.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        model: SOLQ,
        *,
        masks: bool = False,
        top_k: int = 100,
        sampling: Sampling = "kernel",
        pixels: Pixels = "normalized",
    ) -> None:
        super().__init__()
        if pixels not in ("normalized", "uint8"):
            msg = f"pixels must be normalized or uint8, got {pixels!r}"
            raise ValueError(msg)
        if top_k < 1:
            msg = f"top_k must be at least 1, got {top_k}"
            raise ValueError(msg)
        self.model = deepcopy(model).eval()
        use_sampling(self.model, sampling)
        self.codec = model.codec
        if masks and self.codec is None:
            msg = "masks must be False for a model without mask vectors, got True"
            raise ValueError(msg)
        self.masks = masks
        self.top_k = top_k
        self.sampling = sampling
        self.pixels = pixels
        for name, numbers in (("mean", IMAGENET_MEAN), ("deviation", IMAGENET_STD)):
            constant = torch.tensor(numbers)[:, None, None]
            self.register_buffer(name, constant, persistent=False)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs, in order."""
        vectors = () if self.codec is None else ("mask_vectors",)
        masks = ("masks",) if self.masks else ()
        return ("scores", "labels", "boxes", *vectors, *masks)

    @property
    def input_dtype(self) -> torch.dtype:
        """What the images are, whatever the weights are."""
        return torch.uint8 if self.pixels == "uint8" else torch.float32

    @property
    def stride(self) -> int:
        """Image pixels per cell of the coarsest level."""
        levels = self.model.config.num_feature_levels
        coarsest = 16 if self.model.config.dilation else 32
        return coarsest * 2 ** max(0, levels - 3)

    def forward(self, images: Shaped[Tensor, "batch 3 height width"]) -> dict[str, Tensor]:
        """The best detections of each image."""
        if self.pixels == "uint8":
            images = (images.float() / 255 - self.mean) / self.deviation
        images = images.to(self.model.level_embedding.dtype)
        padding = torch.zeros_like(images[:, 0], dtype=torch.bool)
        found = self.model.forward_padded(PaddedImages(tensors=images, padding=padding))
        scores, labels, queries = best_pairs(found.logits, self.top_k)
        outputs = {
            "scores": scores,
            "labels": labels,
            "boxes": cxcywh_to_xyxy(_of_queries(found.boxes, queries).float()),
        }
        if found.mask_vectors is not None:
            outputs["mask_vectors"] = _of_queries(found.mask_vectors, queries).float()
        if self.codec is not None and self.masks:
            outputs["masks"] = self.codec.decode(outputs["mask_vectors"])
        return outputs


def _of_queries(values: Tensor, queries: Tensor) -> Tensor:
    """The rows `[batch, pairs, …]` of values `[batch, queries, …]` that pairs come from."""
    return values.gather(1, queries[..., None].expand(-1, -1, values.shape[-1]))
