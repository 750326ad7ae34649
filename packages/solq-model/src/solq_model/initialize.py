"""Every initial weight of the transformer and its heads, in one place."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from solq_model.attention import DeformableAttention
from solq_model.heads import MLP
from solq_model.positions import LearnedPositions
from solq_model.spatial_masks import SpatialMaskHead

FOREGROUND_PRIOR = 0.01  # RetinaNet, arXiv:1708.02002, section 4.1


def initialize_transformer(module: nn.Module) -> None:
    """Initial weights of the encoder or the decoder.

    | what | weight | bias |
    |---|---|---|
    | matrices | Xavier uniform | torch's default |
    | sampling offsets | 0 | heads look in all directions, point k at distance k |
    | attention weights | 0 (all points weigh the same) | 0 |
    | value and output projections | Xavier uniform | 0 |
    """
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    for child in module.modules():
        if isinstance(child, DeformableAttention):
            _initialize_attention(child)


def initialize_queries(source: nn.Module) -> None:
    """The linear layers of a query source: Xavier uniform; reference points without bias.

    Learned queries stay standard normal, the heads of proposals as they were made.
    """
    for name, child in source.named_modules():
        if isinstance(child, nn.Linear) and not name.startswith(
            ("head.class_head", "head.box_head")
        ):
            nn.init.xavier_uniform_(child.weight)
        if name == "reference_points":
            nn.init.zeros_(_bias(child))


def _initialize_attention(attention: DeformableAttention) -> None:
    nn.init.zeros_(attention.sampling_offsets.weight)
    angles = torch.arange(attention.num_heads, dtype=torch.float32)
    angles = angles * (2 * math.pi / attention.num_heads)
    directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
    directions = directions / directions.abs().amax(-1, keepdim=True)
    distances = torch.arange(1, attention.num_points + 1, dtype=torch.float32)
    offsets = directions[:, None, None] * distances[:, None]
    offsets = offsets.expand(-1, attention.num_levels, -1, -1)
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_(offsets.reshape(-1))
    nn.init.zeros_(attention.attention_weights.weight)
    for linear in (
        attention.attention_weights,
        attention.value_projection,
        attention.output_projection,
    ):
        nn.init.zeros_(linear.bias)


def initialize_projection(convolution: nn.Conv2d) -> None:
    """The neck's projections: Xavier uniform, no bias."""
    nn.init.xavier_uniform_(convolution.weight)
    nn.init.zeros_(_bias(convolution))


def initialize_positions(positions: LearnedPositions) -> None:
    """Learned positions: uniform in 0..1, as published (models/position_encoding.py)."""
    nn.init.uniform_(positions.rows.weight)
    nn.init.uniform_(positions.columns.weight)


def initialize_class_head(head: nn.Linear) -> None:
    """Every class starts at a probability of 1 %, so that the many empty queries cost little."""
    nn.init.constant_(head.bias, -math.log((1 - FOREGROUND_PRIOR) / FOREGROUND_PRIOR))


def initialize_box_head(head: MLP, *, size_bias: float) -> None:
    """Boxes start at their reference; `size_bias` is the logit of width and height.

    The first decoder layer starts small (-2) where references are points (solq.py:115,127).
    """
    _zero_last_layer(head)
    with torch.no_grad():
        _bias(head.layers[-1])[2:] = size_bias


def initialize_vector_head(head: MLP, *, bias: float) -> None:
    """Mask vectors start at `bias` beyond the first two coefficients.

    Published: -2, a line of the box head that also reached the mask head (solq.py:127); kept for
    parity. With whitened vectors 0, which is the mean mask.
    """
    _zero_last_layer(head)
    with torch.no_grad():
        _bias(head.layers[-1])[2:] = bias


def initialize_spatial_head(head: SpatialMaskHead) -> None:
    """Spatial masks: Xavier uniform projections, Kaiming uniform convolutions, no biases.

    The reductions of backbone features keep torch's default, as published.
    """
    for name, child in head.named_modules():
        if isinstance(child, nn.Linear):
            nn.init.xavier_uniform_(child.weight)
            nn.init.zeros_(child.bias)
        elif isinstance(child, nn.Conv2d) and not name.startswith("reductions"):
            nn.init.kaiming_uniform_(child.weight, a=1)
            nn.init.zeros_(_bias(child))


def _zero_last_layer(head: MLP) -> None:
    last = head.layers[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


def _bias(module: nn.Module) -> Tensor:
    bias = module.bias
    assert isinstance(bias, Tensor)
    return bias
