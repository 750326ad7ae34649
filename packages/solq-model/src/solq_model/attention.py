"""The deformable attention layer: queries look at a few learned places of every feature level."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from solq_model.dropout import Dropout
from solq_model.linear import Linear
from solq_model.records import Memory
from solq_ops import ms_deform_attn_fused

# (value [batch, tokens, heads, channels], memory, reference points, offsets, logits) → what each
# query gathers, [batch, queries, heads * channels]; shapes as in `solq_ops.ms_deform_attn_fused`.
Sampler = Callable[[Tensor, Memory, Tensor, Tensor, Tensor], Tensor]


def sample_with_kernel(
    value: Tensor, memory: Memory, reference_points: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """What each query gathers, by the compiled operator."""
    return ms_deform_attn_fused(
        value,
        memory.spatial_shapes,
        memory.level_start_index,
        reference_points,
        offsets,
        logits,
    )


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention (Deformable DETR, arXiv:2010.04159, equation 3)."""

    def __init__(self, hidden_dim: int, num_heads: int, num_levels: int, num_points: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_levels = num_levels
        self.num_points = num_points
        self.sampler: Sampler = sample_with_kernel
        num_samples = num_heads * num_levels * num_points
        self.sampling_offsets = Linear(hidden_dim, num_samples * 2)
        self.attention_weights = Linear(hidden_dim, num_samples)
        self.value_projection = Linear(hidden_dim, hidden_dim)
        self.output_projection = Linear(hidden_dim, hidden_dim)

    def forward(
        self,
        queries: Float[Tensor, "batch queries hidden"],
        reference_points: Float[Tensor, "batch queries levels reference"],
        memory: Memory,
        tokens: Float[Tensor, "batch tokens hidden"],
    ) -> Float[Tensor, "batch queries hidden"]:
        """What each query gathers from `tokens`, which are laid out as `memory` says.

        Reference points are (x, y) or (cx, cy, width, height) in 0..1 of the padded image.
        """
        value = self.value_projection(tokens).masked_fill_(memory.padding[..., None], 0.0)
        offsets = self.sampling_offsets(queries)
        logits = self.attention_weights(queries)
        gathered = self.sampler(
            value.unflatten(-1, (self.num_heads, -1)),
            memory,
            # As exact as values in float64, and never in 16 bits, which miss a cell by up to one.
            reference_points.to(torch.promote_types(value.dtype, torch.float32)),
            offsets.unflatten(-1, (self.num_heads, self.num_levels, self.num_points, 2)),
            logits.unflatten(-1, (self.num_heads, -1)),
        )
        output: Tensor = self.output_projection(gathered)
        return output


# Tokens that a feed-forward block takes at a time where no gradient is wanted: what lies between
# its layers, four megabytes, then stays in the caches and never has memory for all tokens.
TOKENS_AT_ONCE = 1024


class FeedForward(nn.Module):
    """Two linear layers with a residual around them and a norm after."""

    def __init__(
        self, hidden_dim: int, feedforward_dim: int, activation: str, dropout: float
    ) -> None:
        super().__init__()
        self.linear1 = Linear(hidden_dim, feedforward_dim)
        self.linear2 = Linear(feedforward_dim, hidden_dim)
        self.norm = nn.LayerNorm(hidden_dim)
        # In place where that is possible: the gradient of ReLU follows from its result.
        self.activation = torch.relu_ if activation == "relu" else getattr(F, activation)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Float[Tensor, "batch tokens hidden"]) -> Tensor:
        # On other devices, and in compiled graphs, a few large operations are the fastest.
        if torch.compiler.is_compiling() or torch.is_grad_enabled() or tokens.device.type != "cpu":
            return self._forward(tokens)
        parts = [self._forward(part) for part in tokens.split(TOKENS_AT_ONCE, dim=1)]
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def _forward(self, tokens: Tensor) -> Tensor:
        hidden = self.dropout(self.activation(self.linear1(tokens)))
        output: Tensor = self.norm(tokens + self.dropout(self.linear2(hidden)))
        return output
