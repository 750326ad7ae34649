"""What each layer of the decoder read, taken down by hooks while the network runs as always."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from solq_model.attention import DeformableAttention
from solq_model.decoder import Decoder, DecoderLayer
from solq_model.records import Memory
from solq_ops.reference import sampling_locations


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one layer of deformable attention reads for each query of the first image."""

    locations: Float[Tensor, "queries heads levels points 2"]  # (x, y) in 0..1 of the image
    weights: Float[Tensor, "queries heads levels points"]  # sum to 1 for each query and head
    references: Float[Tensor, "queries reference"]  # (x, y) or cxcywh in 0..1 of the image
    level_sizes: tuple[tuple[int, int], ...]  # (height, width) in cells


@dataclass(frozen=True)
class Recording:
    """What the decoder's layers did, in their order."""

    readings: list[Reading] = field(default_factory=list)
    self_attention: list[Float[Tensor, "heads queries keys"]] = field(default_factory=list)


@contextmanager
def recording(decoder: Decoder) -> Iterator[Recording]:
    """A recording that fills while the block runs; the hooks are gone after it, errors or not."""
    taken = Recording()

    def read(module: nn.Module, inputs: tuple[Any, ...], _: Tensor) -> None:
        assert isinstance(module, DeformableAttention)
        queries, reference_points, memory, _tokens = inputs
        taken.readings.append(reading(module, queries, reference_points, memory))

    def listen(module: nn.Module, inputs: tuple[Any, ...], _: Any) -> None:
        # The network asks torch for no weights, which is faster; `forward`, as hooks hear calls.
        _, weights = module.forward(*inputs, need_weights=True, average_attn_weights=False)
        taken.self_attention.append(weights[0])

    handles = []
    try:
        for layer in decoder.layers:
            assert isinstance(layer, DecoderLayer)
            handles.append(layer.cross_attention.register_forward_hook(read))
            handles.append(layer.self_attention.register_forward_hook(listen))
        yield taken
    finally:
        for handle in handles:
            handle.remove()


def reading(
    attention: DeformableAttention,
    queries: Float[Tensor, "batch queries hidden"],
    reference_points: Float[Tensor, "batch queries levels reference"],
    memory: Memory,
) -> Reading:
    """What the attention reads, computed as its operator's definition does."""
    offsets = attention.sampling_offsets(queries)
    # The operator's own type: never 16 bits.
    dtype = torch.promote_types(offsets.dtype, torch.float32)
    heads, levels, points = attention.num_heads, attention.num_levels, attention.num_points
    locations = sampling_locations(
        reference_points.to(dtype),
        memory.spatial_shapes,
        offsets.to(dtype).unflatten(-1, (heads, levels * points, 2)),
        [points] * levels,
    )
    logits = attention.attention_weights(queries).to(dtype).unflatten(-1, (heads, -1))
    ratios = memory.valid_ratios[0]  # [levels, 2]: from the padded level to the image
    return Reading(
        locations=locations[0].unflatten(2, (levels, points)) / ratios[:, None],
        weights=logits[0].softmax(-1).unflatten(-1, (levels, points)),
        # The same place on every level: any of them says where it is in the image.
        references=reference_points[0, :, 0] / ratios[0].repeat(reference_points.shape[-1] // 2),
        level_sizes=memory.level_sizes,
    )
