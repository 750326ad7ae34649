"""Query sources: where the decoder's queries start; learned, or proposed by the encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from solq_model.boxes import at_least_float32, inverse_sigmoid
from solq_model.heads import MLP
from solq_model.positions import sine_code
from solq_model.records import Memory, Proposals


@dataclass(frozen=True, kw_only=True)
class Queries:
    """The queries before the first decoder layer."""

    content: Float[Tensor, "batch queries hidden"]
    references: Float[Tensor, "batch queries reference"]  # (x, y) or cxcywh in 0..1, no padding
    positions: Float[Tensor, "batch queries hidden"] | None  # None: made from the current boxes
    proposals: Proposals | None = None


class LearnedQueries(nn.Module):
    """One stage: content, position and reference point of each query are learned."""

    def __init__(self, num_queries: int, hidden_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_queries, 2 * hidden_dim)  # position, content
        self.reference_points = nn.Linear(hidden_dim, 2)

    def forward(self, memory: Memory) -> Queries:
        batch = memory.tokens.shape[0]
        positions, content = self.embedding.weight.expand(batch, -1, -1).chunk(2, dim=-1)
        references = at_least_float32(self.reference_points(positions)).sigmoid()
        return Queries(content=content, references=references, positions=positions)


class ProposalHead(nn.Module):
    """Scores and boxes proposed at every token of the encoder's output."""

    def __init__(self, class_head: nn.Linear, box_head: MLP, proposal_scale: float) -> None:
        super().__init__()
        hidden_dim = class_head.in_features
        self.project = nn.Linear(hidden_dim, hidden_dim)
        self.norm = nn.LayerNorm(hidden_dim)
        self.class_head = class_head
        self.box_head = box_head
        self.proposal_scale = proposal_scale

    def forward(self, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """Logits `[batch, tokens, classes]`, box logits `[…, 4]`, usable `[batch, tokens]`."""
        anchors, usable = _anchors(memory, self.proposal_scale)
        # Published: tokens of padding or at the border propose nothing; their features are cleared
        # before the projection and their anchors are infinite (deformable_transformer.py:83-111).
        tokens = memory.tokens.masked_fill(~usable[..., None], 0.0)
        tokens = self.norm(self.project(tokens))
        box_logits = self.box_head(tokens) + anchors.masked_fill(~usable[..., None], math.inf)
        return self.class_head(tokens), box_logits, usable


class AgnosticQueries(nn.Module):
    """Two stages as published: class slot 0 scores "object", the box makes position and content.

    As published, unusable tokens compete too: a padded batch has more of them than its images have
    alone, which shows where a head scores them high or usable ones are few.
    """

    def __init__(self, num_queries: int, head: ProposalHead) -> None:
        super().__init__()
        hidden_dim = head.class_head.in_features
        self.num_queries = num_queries
        self.head = head
        self.project = nn.Linear(2 * hidden_dim, 2 * hidden_dim)
        self.norm = nn.LayerNorm(2 * hidden_dim)

    def forward(self, memory: Memory) -> Queries:
        logits, box_logits, _ = self.head(memory)
        chosen = _top_boxes(logits[..., 0], box_logits, self.num_queries)
        references = chosen.sigmoid()
        num_features = self.project.in_features // 4
        code = sine_code(references * 2 * math.pi, num_features).flatten(-2)
        code = code.to(self.project.weight.dtype)
        positions, content = self.norm(self.project(code)).chunk(2, dim=-1)
        proposals = Proposals(logits=logits, boxes=box_logits.sigmoid(), class_agnostic=True)
        return Queries(
            content=content, references=references, positions=positions, proposals=proposals
        )


class MixedQueries(nn.Module):
    """Two stages, mixed selection: boxes are proposed per class, the content is learned."""

    def __init__(self, num_queries: int, head: ProposalHead) -> None:
        super().__init__()
        self.head = head
        self.content = nn.Embedding(num_queries, head.class_head.in_features)

    def forward(self, memory: Memory) -> Queries:
        logits, box_logits, usable = self.head(memory)
        scores = logits.amax(-1).masked_fill(~usable, -math.inf)
        chosen = _top_boxes(scores, box_logits, self.content.num_embeddings)
        content = self.content.weight.expand(logits.shape[0], -1, -1)
        proposals = Proposals(logits=logits, boxes=box_logits.sigmoid(), class_agnostic=False)
        return Queries(
            content=content, references=chosen.sigmoid(), positions=None, proposals=proposals
        )


def _top_boxes(scores: Tensor, box_logits: Tensor, num_queries: int) -> Tensor:
    """The box logits of the best tokens, without gradient.

    Where tokens are fewer than queries, what an unusable token proposes fills the number: small
    images give as many queries alone as beside a large one.
    """
    missing = max(0, num_queries - scores.shape[1])
    scores = nn.functional.pad(scores, (0, missing), value=-math.inf)
    box_logits = nn.functional.pad(box_logits, (0, 0, 0, missing), value=math.inf)
    best = scores.topk(num_queries, dim=1).indices
    return box_logits.gather(1, best[..., None].expand(-1, -1, 4)).detach()


def _anchors(
    memory: Memory, proposal_scale: float
) -> tuple[Float[Tensor, "batch tokens 4"], Bool[Tensor, "batch tokens"]]:
    """Logits of one square box (cxcywh) per token, and whether it lies inside the image."""
    boxes = []
    for level, (height, width) in enumerate(memory.level_sizes):
        device = memory.tokens.device
        y = torch.arange(height, dtype=torch.float32, device=device) + 0.5
        x = torch.arange(width, dtype=torch.float32, device=device) + 0.5
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        valid = memory.valid_ratios[:, level] * torch.tensor([width, height], device=device)
        centres = torch.stack([grid_x, grid_y], dim=-1).reshape(1, -1, 2) / valid.round()[:, None]
        sizes = torch.full_like(centres, proposal_scale * 2.0**level)
        boxes.append(torch.cat([centres, sizes], dim=-1))
    anchors = torch.cat(boxes, dim=1)
    inside = ((anchors > 0.01) & (anchors < 0.99)).all(-1)
    return inverse_sigmoid(anchors), inside & ~memory.padding
