"""The neck: backbone features → feature levels of one width, as one row of tokens."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from solq_model.records import FeatureMap, Memory


class Neck(nn.Module):
    """Projections of backbone features to one width, then coarser levels by strided convolution."""

    def __init__(
        self, in_channels: list[int], hidden_dim: int, num_levels: int, positions: nn.Module
    ) -> None:
        super().__init__()
        projections = [nn.Conv2d(channels, hidden_dim, kernel_size=1) for channels in in_channels]
        channels = in_channels[-1]
        for _ in range(num_levels - len(in_channels)):
            projections.append(nn.Conv2d(channels, hidden_dim, kernel_size=3, stride=2, padding=1))
            channels = hidden_dim
        # 32 as published, but of two channels at least: one value alone cannot be normalised.
        groups = min(32, hidden_dim // 2)
        self.projections = nn.ModuleList(
            nn.Sequential(projection, nn.GroupNorm(groups, hidden_dim))
            for projection in projections
        )
        self.positions = positions

    def project(self, features: list[Tensor]) -> list[Tensor]:
        """Feature maps `[batch, hidden, height, width]` of all levels, finest first."""
        levels = [
            projection(feature)
            for projection, feature in zip(self.projections, features, strict=False)
        ]
        source = features[-1]
        for projection in self.projections[len(features) :]:
            levels.append(projection(source))
            source = levels[-1]
        return levels

    def locate(self, features: Tensor, padding: Bool[Tensor, "batch height width"]) -> FeatureMap:
        """The feature map with its positions; padding is that of the map itself."""
        positions = self.positions(padding).to(features.dtype)
        return FeatureMap(features=features, positions=positions, padding=padding)


def downsample_padding(
    padding: Bool[Tensor, "batch height width"], size: tuple[int, int]
) -> Bool[Tensor, "batch rows columns"]:
    """The padding of the images as seen by a feature map of this size (nearest, as published)."""
    return nn.functional.interpolate(padding[None].float(), size=size)[0].to(torch.bool)


def flatten_levels(
    levels: list[FeatureMap], level_embedding: Float[Tensor, "levels hidden"]
) -> Memory:
    """All levels as one row of tokens."""
    device = levels[0].features.device
    sizes = tuple((m.features.shape[2], m.features.shape[3]) for m in levels)
    starts = [0]
    for height, width in sizes[:-1]:
        starts.append(starts[-1] + height * width)
    positions = [
        m.positions.flatten(2).transpose(1, 2) + embedding
        for m, embedding in zip(levels, level_embedding, strict=True)
    ]
    return Memory(
        tokens=torch.cat([m.features.flatten(2).transpose(1, 2) for m in levels], dim=1),
        positions=torch.cat(positions, dim=1),
        padding=torch.cat([m.padding.flatten(1) for m in levels], dim=1),
        level_sizes=sizes,
        spatial_shapes=torch.tensor(sizes, dtype=torch.int64, device=device),
        level_start_index=torch.tensor(starts, dtype=torch.int64, device=device),
        valid_ratios=torch.stack([_valid_ratio(m.padding) for m in levels], dim=1),
    )


def _valid_ratio(padding: Bool[Tensor, "batch height width"]) -> Float[Tensor, "batch 2"]:
    """The share (x, y) of each map that is no padding."""
    _, height, width = padding.shape
    valid_width = (~padding[:, 0, :]).sum(1).float() / width
    valid_height = (~padding[:, :, 0]).sum(1).float() / height
    return torch.stack([valid_width, valid_height], dim=-1)
