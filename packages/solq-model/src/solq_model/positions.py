"""Position encodings: of the cells of a feature map, and of boxes."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

TEMPERATURE = 10000.0  # Attention Is All You Need, section 3.5


def sine_code(
    values: Float[Tensor, "*shape"], num_features: int
) -> Float[Tensor, "*shape features"]:
    """Sines and cosines of angles (radians) at `num_features / 2` wavelengths, interleaved."""
    index = torch.arange(num_features, dtype=torch.float32, device=values.device)
    wavelengths = TEMPERATURE ** (2 * (index // 2) / num_features)
    angles = values[..., None] / wavelengths
    return torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=-1).flatten(-2)


class SinePositions(nn.Module):
    """Sine code of each cell's place in the part of its map that is no padding (y, then x)."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.num_features = hidden_dim // 2

    def forward(
        self, padding: Bool[Tensor, "batch height width"]
    ) -> Float[Tensor, "batch hidden height width"]:
        valid = ~padding
        y = valid.cumsum(1, dtype=torch.float32)
        x = valid.cumsum(2, dtype=torch.float32)
        # Cell centres (- 0.5) and 1e-6 as in Deformable DETR (models/position_encoding.py).
        y = (y - 0.5) / (y[:, -1:, :] + 1e-6) * (2 * math.pi)
        x = (x - 0.5) / (x[:, :, -1:] + 1e-6) * (2 * math.pi)
        code = torch.cat([sine_code(y, self.num_features), sine_code(x, self.num_features)], dim=-1)
        return code.permute(0, 3, 1, 2)


class LearnedPositions(nn.Module):
    """A learned vector per column and per row; maps of up to `cells` x `cells` cells."""

    def __init__(self, hidden_dim: int, cells: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(cells, hidden_dim // 2)
        self.columns = nn.Embedding(cells, hidden_dim // 2)

    def forward(
        self, padding: Bool[Tensor, "batch height width"]
    ) -> Float[Tensor, "batch hidden height width"]:
        batch, height, width = padding.shape
        cells = self.rows.num_embeddings
        if max(height, width) > cells:
            msg = (
                f"learned positions reach {cells} x {cells} cells (ModelConfig.position_cells), "
                f"got a feature map of {height} x {width}: use smaller images, more cells or "
                "position_embedding='sine'"
            )
            raise ValueError(msg)
        columns = self.columns.weight[:width].expand(height, -1, -1)
        rows = self.rows.weight[:height, None].expand(-1, width, -1)
        return torch.cat([columns, rows], dim=-1).permute(2, 0, 1).expand(batch, -1, -1, -1)


class BoxPositions(nn.Module):
    """A query's position from its box: an MLP on the sine code (DAB-DETR, arXiv:2201.12329)."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.num_features = hidden_dim // 2
        self.layers = nn.Sequential(
            nn.Linear(4 * self.num_features, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
        )

    def forward(
        self, boxes_cxcywh: Float[Tensor, "batch queries 4"]
    ) -> Float[Tensor, "batch queries hidden"]:
        code = sine_code(boxes_cxcywh * 2 * math.pi, self.num_features).flatten(-2)
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        positions: Tensor = self.layers(code.to(first.weight.dtype))
        return positions
