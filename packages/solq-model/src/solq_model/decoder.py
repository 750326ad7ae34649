"""The decoder: queries x memory → refined queries and boxes, layer after layer."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from solq_model.attention import DeformableAttention, FeedForward
from solq_model.boxes import inverse_sigmoid
from solq_model.checkpointing import Checkpointed
from solq_model.dropout import Dropout
from solq_model.heads import LayerHeads
from solq_model.positions import BoxPositions
from solq_model.queries import Queries
from solq_model.records import Memory


class DecoderLayer(nn.Module):
    """Self-attention among the queries, deformable attention into the memory, feed-forward."""

    def __init__(
        self,
        self_attention: nn.MultiheadAttention,
        cross_attention: DeformableAttention,
        feedforward: FeedForward,
        dropout: float,
    ) -> None:
        super().__init__()
        hidden_dim = self_attention.embed_dim
        self.self_attention = self_attention
        self.self_norm = nn.LayerNorm(hidden_dim)
        self.cross_attention = cross_attention
        self.cross_norm = nn.LayerNorm(hidden_dim)
        self.feedforward = feedforward
        self.dropout = Dropout(dropout)

    def forward(
        self, queries: Tensor, positions: Tensor, reference_points: Tensor, memory: Memory
    ) -> Tensor:
        located = queries + positions
        attended, _ = self.self_attention(located, located, queries, need_weights=False)
        queries = self.self_norm(queries + self.dropout(attended))
        gathered = self.cross_attention(
            queries + positions, reference_points, memory, memory.tokens
        )
        output: Tensor = self.feedforward(self.cross_norm(queries + self.dropout(gathered)))
        return output


class Decoder(Checkpointed):
    """Decoder layers in a row; with box refinement each starts from the boxes of the one before."""

    def __init__(
        self,
        layers: list[DecoderLayer],
        *,
        box_refinement: bool,
        box_positions: BoxPositions | None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.box_refinement = box_refinement
        self.box_positions = box_positions

    def forward(
        self, queries: Queries, memory: Memory, box_heads: LayerHeads
    ) -> list[tuple[Tensor, Tensor]]:
        """Per layer: queries `[batch, queries, hidden]` and their boxes `[batch, queries, 4]`."""
        content, references = queries.content, queries.references
        outputs = []
        for index, layer in enumerate(self.layers):
            positions = queries.positions
            if self.box_positions is not None:
                positions = self.box_positions(references)
            reference_points = _on_levels(references, memory)
            content = self.run(layer, content, positions, reference_points, memory)
            boxes = refine(references, box_heads.at(index)(content))
            outputs.append((content, boxes))
            if self.box_refinement:
                references = boxes.detach()
        return outputs


def refine(
    references: Float[Tensor, "batch queries reference"],
    corrections: Float[Tensor, "batch queries 4"],
) -> Float[Tensor, "batch queries 4"]:
    """Boxes (cxcywh in 0..1): references corrected in logit space; points only have a centre."""
    logits = inverse_sigmoid(references)
    missing = corrections.shape[-1] - logits.shape[-1]
    return (corrections + torch.nn.functional.pad(logits, (0, missing))).sigmoid()


def _on_levels(
    references: Tensor, memory: Memory
) -> Float[Tensor, "batch queries levels reference"]:
    """References in 0..1 of each padded level."""
    ratios = memory.valid_ratios.repeat(1, 1, references.shape[-1] // 2)
    return references[:, :, None] * ratios[:, None]
