"""Deformable attention in plain torch, for runtimes that do not have the compiled operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from solq_model.attention import DeformableAttention, Sampler, sample_with_kernel
from solq_model.records import Memory

Sampling = Literal["kernel", "grid_sample", "gather"]


def sample_with_grid_sample(
    value: Tensor, memory: Memory, reference_points: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """What each query gathers, by `grid_sample`: the plain version of Deformable DETR."""
    return _sample(read_with_grid_sample, value, memory, reference_points, offsets, logits)


def sample_with_gather(
    value: Tensor, memory: Memory, reference_points: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """What each query gathers, by four gathers of rows a level; exports to no GridSample node."""
    return _sample(read_with_gather, value, memory, reference_points, offsets, logits)


SAMPLERS: dict[str, Sampler] = {
    "kernel": sample_with_kernel,
    "grid_sample": sample_with_grid_sample,
    "gather": sample_with_gather,
}


def attend_by_products(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Attention within windows by its definition.

    ONNX's conversion takes torch's fused operator apart, and then finds the memory of its result
    laid out in another order than it was traced with.
    """
    return (queries @ keys.transpose(-2, -1) + bias).softmax(-1) @ values


def use_sampling(model: nn.Module, sampling: Sampling) -> None:
    """Have every deformable attention of the model sample in this way.

    Where that is not by the compiled operator, windows attend by plain products too.
    """
    # Here, because torchvision, which it stands on, takes seconds to import.
    from solq_model.backbones.swin import WindowAttention, attend

    if sampling not in SAMPLERS:
        msg = f"sampling must be one of {', '.join(SAMPLERS)}, got {sampling!r}"
        raise ValueError(msg)
    for module in model.modules():
        if isinstance(module, DeformableAttention):
            module.sampler = SAMPLERS[sampling]
        elif isinstance(module, WindowAttention):
            module.attend = attend if sampling == "kernel" else attend_by_products


# (maps [images, channels, height, width], places [images, queries, points, 2]) → what is read at
# each place, [images, channels, queries, points]; places are (x, y) in 0..1 of the map.
Read = Callable[[Tensor, Tensor], Tensor]


def _sample(
    read: Read,
    value: Tensor,
    memory: Memory,
    reference_points: Tensor,
    offsets: Tensor,
    logits: Tensor,
) -> Tensor:
    """The weighted sum over levels and points; an image and a head are one batch axis."""
    batch, queries, heads, levels, points = offsets.shape[:5]
    # As the operator does in 16 bits: places and sums in float32.
    wide = torch.promote_types(value.dtype, torch.float32)
    places = _places(reference_points, offsets.to(wide), memory.level_sizes)
    weights = logits.to(wide).softmax(-1).unflatten(-1, (levels, points))
    sizes = [height * width for height, width in memory.level_sizes]
    gathered = []
    for level, tokens in enumerate(value.to(wide).split(sizes, dim=1)):
        maps = tokens.permute(0, 2, 3, 1).flatten(0, 1).unflatten(-1, memory.level_sizes[level])
        found = read(maps, places[:, :, :, level].transpose(1, 2).flatten(0, 1))
        shares = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)
        gathered.append((found * shares[:, None]).sum(-1))
    output = torch.stack(gathered).sum(0).reshape(batch, -1, queries)
    assert output.shape[1] == heads * value.shape[3]
    return output.transpose(1, 2).to(value.dtype)


def _places(
    reference_points: Tensor, offsets: Tensor, level_sizes: tuple[tuple[int, int], ...]
) -> Float[Tensor, "batch queries heads levels points 2"]:
    """Where each query looks, (x, y) in 0..1 of each level (Deformable-DETR, models/ops/modules).

    Offsets count in cells around a point, in half boxes divided by the points around a box.
    """
    references = reference_points[:, :, None, :, None]
    if reference_points.shape[-1] == 4:
        steps = offsets / offsets.shape[4] * references[..., 2:] * 0.5
        return references[..., :2] + steps
    parts = []
    for level, (height, width) in enumerate(level_sizes):
        x, y = offsets[:, :, :, level].unbind(-1)
        parts.append(torch.stack([x / width, y / height], dim=-1))
    return references + torch.stack(parts, dim=3)


def read_with_grid_sample(maps: Tensor, places: Tensor) -> Tensor:
    """Bilinear means; zeros outside."""
    return F.grid_sample(
        maps, 2 * places - 1, mode="bilinear", padding_mode="zeros", align_corners=False
    )


def read_with_gather(maps: Tensor, places: Tensor) -> Tensor:
    """The same from the four pixels around each place, each looked up by its number."""
    images, _, height, width = maps.shape
    _, queries, points, _ = places.shape
    # A row of channels per pixel of all images, so that a look-up is one plain gather.
    rows = maps.flatten(2).transpose(1, 2).flatten(0, 1)
    first = torch.arange(images, device=maps.device)[:, None, None] * (height * width)
    x, y = places[..., 0] * width - 0.5, places[..., 1] * height - 0.5
    found = maps.new_zeros(())
    for row, share_y in _neighbours(y, height):
        for column, share_x in _neighbours(x, width):
            index = (first + row * width + column).flatten()
            corner = rows.index_select(0, index).unflatten(0, (images, queries, points))
            found = found + corner * (share_y * share_x)[..., None]
    return found.permute(0, 3, 1, 2)


def _neighbours(position: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """The two pixels around a position on one axis, and the share of each; none outside."""
    # Far away is as good as beside the map, and fits an integer.
    position = position.clamp(-1, size)
    before = position.floor()
    share = position - before
    pairs = []
    for pixel, weight in ((before, 1 - share), (before + 1, share)):
        inside = pixel.clamp(0, size - 1)
        pairs.append((inside.long(), weight * (inside == pixel)))
    return pairs
