"""The encoder: feature tokens → memory, by deformable self-attention over all levels."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from solq_model.attention import DeformableAttention, FeedForward
from solq_model.checkpointing import Checkpointed
from solq_model.dropout import Dropout
from solq_model.records import Memory


class EncoderLayer(nn.Module):
    """Deformable self-attention and a feed-forward block."""

    def __init__(
        self, attention: DeformableAttention, feedforward: FeedForward, dropout: float
    ) -> None:
        super().__init__()
        self.attention = attention
        self.norm = nn.LayerNorm(attention.output_projection.out_features)
        self.feedforward = feedforward
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor, reference_points: Tensor, memory: Memory) -> Tensor:
        attended = self.attention(tokens + memory.positions, reference_points, memory, tokens)
        output: Tensor = self.feedforward(self.norm(tokens + self.dropout(attended)))
        return output


class Encoder(Checkpointed):
    """Encoder layers in a row; every token is a query whose reference is its own cell."""

    def __init__(self, layers: list[EncoderLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, memory: Memory) -> Memory:
        tokens = memory.tokens
        reference_points = cell_centres(memory)
        for layer in self.layers:
            tokens = self.run(layer, tokens, reference_points, memory)
        return replace(memory, tokens=tokens)


def cell_centres(memory: Memory) -> Float[Tensor, "batch tokens levels 2"]:
    """Each token's own place (x, y) on every level, in 0..1 of the padded level."""
    ratios = memory.valid_ratios
    centres = []
    for level, (height, width) in enumerate(memory.level_sizes):
        y = torch.arange(height, dtype=torch.float32, device=ratios.device) + 0.5
        x = torch.arange(width, dtype=torch.float32, device=ratios.device) + 0.5
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        grid_y = grid_y.reshape(1, -1) / (ratios[:, level, 1, None] * height)
        grid_x = grid_x.reshape(1, -1) / (ratios[:, level, 0, None] * width)
        centres.append(torch.stack([grid_x, grid_y], dim=-1))
    return torch.cat(centres, dim=1)[:, :, None] * ratios[:, None]
