"""Spatial masks: where a query attends and what the backbone saw there → mask logits of the image.

The head of DETR for segmentation (arXiv:2005.12872, section 4.4) as the published baseline with
separate query representations has it, D-DETR + SQR (arXiv:2106.02351, models/segmentation.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from solq_model.mask_logits import CHUNK, MaskLogits

NUM_GROUPS = 8


@dataclass(frozen=True, kw_only=True)
class PixelFeatures:
    """What the masks of all queries of one image have in common."""

    coarsest: Float[Tensor, "_ rows columns"]  # the first convolution, but for attention
    finer: tuple[Tensor, ...]  # [_, rows, columns] of three resolutions, coarsest first
    padding: Bool[Tensor, "height width"]  # of the pixels that the masks lie over


class AttentionMaps(nn.Module):
    """How much each head of each query looks at each cell; all heads of a query sum up to 1."""

    def __init__(self, hidden_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_projection = nn.Linear(hidden_dim, hidden_dim)
        self.key_projection = nn.Linear(hidden_dim, hidden_dim)

    def keys(
        self, memory: Float[Tensor, "batch hidden rows columns"]
    ) -> Float[Tensor, "batch heads channels rows columns"]:
        """What queries are compared with, of each cell."""
        keys = self.key_projection(memory.movedim(1, -1)).movedim(-1, 1)
        return keys.unflatten(1, (self.num_heads, -1))

    def forward(
        self,
        queries: Float[Tensor, "queries hidden"],
        keys: Float[Tensor, "heads channels rows columns"],
        padding: Bool[Tensor, "rows columns"],
    ) -> Float[Tensor, "queries heads rows columns"]:
        projected = self.query_projection(queries).unflatten(1, (self.num_heads, -1))
        projected = projected * projected.shape[-1] ** -0.5
        maps = torch.einsum("qnc,nchw->qnhw", projected, keys)
        maps = maps.masked_fill(padding, -math.inf)
        # One softmax over heads and cells together, as published (segmentation.py:313).
        return maps.flatten(1).softmax(-1).view_as(maps)


class SpatialMaskHead(nn.Module):
    """Mask logits of one query at a time, at half the resolution of the finest features."""

    def __init__(self, hidden_dim: int, num_heads: int, in_channels: list[int]) -> None:
        """`in_channels` are those of three backbone stages, finest first."""
        super().__init__()
        self.attention = AttentionMaps(hidden_dim, num_heads)
        # Published: backbone features are halved once more (segmentation.py:92-95).
        reduced = [channels // 2 for channels in reversed(in_channels)]
        self.reductions = nn.ModuleList(
            nn.Conv2d(channels, out, kernel_size=3, stride=2, padding=1)
            for channels, out in zip(reversed(in_channels), reduced, strict=True)
        )
        widths = [hidden_dim + num_heads, *(hidden_dim // share for share in (2, 4, 8, 16))]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, padding=1)
            for before, after in pairwise([widths[0], *widths])
        )
        self.norms = nn.ModuleList(nn.GroupNorm(NUM_GROUPS, width) for width in widths)
        self.adapters = nn.ModuleList(
            nn.Conv2d(channels, width, kernel_size=1)
            for channels, width in zip(reduced, widths[1:4], strict=True)
        )
        self.output = nn.Conv2d(widths[-1], 1, kernel_size=3, padding=1)

    def pixels(
        self,
        stages: list[Tensor],
        coarsest: Float[Tensor, "batch hidden rows columns"],
        padding: Bool[Tensor, "batch height width"],
    ) -> list[PixelFeatures]:
        """What is the same for all queries, of each image.

        `stages` are the backbone's features, finest first, `coarsest` the last level that the
        encoder gets, `padding` that of the images.
        """
        first = self.convolutions[0]
        assert isinstance(first, nn.Conv2d)
        # The convolution of features and attention maps is the sum of those of both; that of the
        # features is nearly all of its work, and the same for every query.
        weight = first.weight[:, : coarsest.shape[1]]
        maps = F.conv2d(coarsest, weight, first.bias, padding=1)
        finer = [
            adapter(reduction(stage))
            for stage, reduction, adapter in zip(
                reversed(stages), self.reductions, self.adapters, strict=True
            )
        ]
        return [
            PixelFeatures(coarsest=own, finer=tuple(m[index] for m in finer), padding=pixels)
            for index, (own, pixels) in enumerate(zip(maps, padding, strict=True))
        ]

    def masks(
        self,
        queries: Float[Tensor, "batch queries hidden"],
        memory: Float[Tensor, "batch hidden rows columns"],
        padding: Bool[Tensor, "batch rows columns"],
        pixels: list[PixelFeatures],
    ) -> SpatialMasks:
        """The masks of all queries, to be asked for.

        `memory` is the encoder's coarsest level, `padding` its own.
        """
        return SpatialMasks(
            head=self,
            queries=queries,
            keys=self.attention.keys(memory),
            padding=padding,
            pixels=tuple(pixels),
        )

    def forward(
        self, attention: Float[Tensor, "queries heads rows columns"], pixels: PixelFeatures
    ) -> Float[Tensor, "queries _ _"]:
        weight = self.convolutions[0].weight
        assert isinstance(weight, Tensor)
        maps = pixels.coarsest + F.conv2d(attention, weight[:, -attention.shape[1] :], padding=1)
        maps = self.norms[0](maps).relu()
        maps = self.norms[1](self.convolutions[1](maps)).relu()
        for level, convolution, norm in zip(
            pixels.finer, self.convolutions[2:], self.norms[2:], strict=True
        ):
            maps = level + F.interpolate(maps, size=level.shape[-2:], mode="nearest")
            maps = norm(convolution(maps)).relu()
        logits: Tensor = self.output(maps)
        return logits[:, 0]


@dataclass(frozen=True, kw_only=True)
class SpatialMasks:
    """The masks of all queries of a batch, of which only those are made that are asked for.

    A query's mask does not depend on the other queries: the norms of the head are those of one
    query's maps.
    """

    head: SpatialMaskHead
    queries: Float[Tensor, "batch queries hidden"]
    keys: Float[Tensor, "batch heads channels rows columns"]
    padding: Bool[Tensor, "batch rows columns"]  # of the coarsest level, as the keys are
    pixels: tuple[PixelFeatures, ...]  # of each image, on its own part of the coarsest level

    def at(self, image: int, queries: Int[Tensor, " instances"]) -> MaskLogits:
        """The masks of some queries of one image."""
        pixels = self.pixels[image]
        rows, columns = pixels.coarsest.shape[1:]
        attention = self.head.attention(
            self.queries[image, queries],
            self.keys[image, ..., :rows, :columns],
            self.padding[image, :rows, :columns],
        )
        return MaskLogits(logits=self.head(attention, pixels), image_padding=pixels.padding)

    @torch.no_grad()
    def best(self, image: int, queries: Int[Tensor, " instances"]) -> MaskLogits:
        """As `at`, without gradient and with the memory of a few: each query's mask once."""
        distinct, index = queries.unique(return_inverse=True)
        parts = [self.at(image, some) for some in distinct.split(CHUNK)]
        logits = torch.cat([part.logits for part in parts])[index]
        return replace(parts[0], logits=logits)
