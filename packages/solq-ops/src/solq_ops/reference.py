"""Multi-scale deformable attention in plain torch: the definition every fast kernel must equal.

`samples` are the points of all levels, level after level: the sum of `points_per_level`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    points_per_level: Sequence[int],
) -> Tensor:
    """Weighted sums of the values at each query's points: [batch, queries, heads * channels].

    The arguments are those of `torch.ops.solq.ms_deform_attn`: locations
    [batch, queries, heads, samples, 2] and weights [batch, queries, heads, samples], validated.

    A point reads its level as an image whose pixel centres lie at (column + 0.5, row + 0.5): the
    bilinear mean of the four pixels around it, where pixels outside the level are zeros. So a query
    is a weighted sum of at most 4 * samples rows of `value`, which is what an embedding bag
    computes: one gather forward, one scatter backward, no image layout and no per-level tensors.
    """
    compute_dtype = torch.promote_types(value.dtype, torch.float32)
    rows, weights = _corners(
        value.shape,
        _per_sample(spatial_shapes, points_per_level),
        _per_sample(level_start_index, points_per_level),
        sampling_locations.to(compute_dtype),
        attention_weights.to(compute_dtype),
    )
    output = F.embedding_bag(
        rows.flatten(3).flatten(0, 2),  # [batch * queries * heads, samples * 4]
        value.to(compute_dtype).flatten(0, 2),  # [batch * tokens * heads, channels]
        per_sample_weights=weights.flatten(3).flatten(0, 2),
        mode="sum",
    )
    batch, queries = sampling_locations.shape[:2]
    heads, channels = value.shape[2:]
    return output.view(batch, queries, heads * channels).to(value.dtype)


def ms_deform_attn_fused(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_logits: Tensor,
    points_per_level: Sequence[int],
) -> Tensor:
    """`ms_deform_attn` at `sampling_locations`, weighted by the softmax over all samples' logits.

    The arguments are those of `torch.ops.solq.ms_deform_attn_fused`, validated.
    """
    compute_dtype = torch.promote_types(value.dtype, torch.float32)
    return ms_deform_attn(
        value,
        spatial_shapes,
        level_start_index,
        sampling_locations(
            reference_points.to(compute_dtype),
            spatial_shapes,
            sampling_offsets.to(compute_dtype),
            points_per_level,
        ),
        attention_logits.to(compute_dtype).softmax(-1),
        points_per_level,
    )


def sampling_locations(
    reference_points: Tensor,
    spatial_shapes: Tensor,
    sampling_offsets: Tensor,
    points_per_level: Sequence[int],
) -> Tensor:
    """Where each query looks, (x, y) in 0..1 of each level: [batch, queries, heads, samples, 2].

    Around a point, reference (x, y), offsets count in cells of the level. Around a box, reference
    (cx, cy, width, height), they count in half boxes divided by the level's number of points.

    A location without finite reference and offset is NaN, and gives neither of them a gradient.
    """
    references = _per_sample(reference_points, points_per_level, dim=2)[:, :, None]
    finite = references.isfinite().all(-1, keepdim=True)
    finite = finite & sampling_offsets.isfinite().all(-1, keepdim=True)
    # Before any product: the gradient of what is finite would be zero times what is not.
    references = torch.where(finite, references, 0)
    offsets = torch.where(finite, sampling_offsets, 0)
    if reference_points.shape[-1] == 2:
        steps = offsets / _per_sample(spatial_shapes, points_per_level).flip(-1)
    else:
        by_level = offsets.split(list(points_per_level), dim=3)
        shares = [part / part.shape[3] for part in by_level]
        steps = torch.cat(shares, dim=3) * references[..., 2:] * 0.5
    return torch.where(finite, references[..., :2] + steps, torch.nan)


def _per_sample(per_level: Tensor, points_per_level: Sequence[int], dim: int = 0) -> Tensor:
    """Each level's entry along `dim`, once for each of its points."""
    # One call with a tensor of counts would copy it to the device, and make the host wait.
    entries = zip(per_level.split(1, dim), points_per_level, strict=True)
    return torch.cat([entry.repeat_interleave(points, dim) for entry, points in entries], dim)


def _corners(
    value_shape: torch.Size,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> tuple[Tensor, Tensor]:
    """Rows of the flattened value, and their weights: [batch, queries, heads, samples, 4].

    Shapes and starts are those of each sample's level: [samples, 2] and [samples]. The row of
    (item, token, head) is (item * tokens + token) * heads + head.
    """
    batch, tokens, heads, _ = value_shape
    device = sampling_locations.device
    height, width = spatial_shapes.unbind(-1)
    x, y = _positions(sampling_locations, height, width)

    first_token = torch.arange(batch, device=device).view(-1, 1, 1, 1) * tokens + level_start_index
    head = torch.arange(heads, device=device).view(-1, 1)

    # Everything that depends on one axis only is made per axis, not per corner.
    above_below = [
        ((first_token + line * width) * heads + head, share * attention_weights)
        for line, share in _neighbours(y, height)
    ]
    left_right = [(column * heads, share) for column, share in _neighbours(x, width)]
    corners = [(line, column) for line in above_below for column in left_right]
    rows = torch.stack([line[0] + column[0] for line, column in corners], -1)
    weights = torch.stack([line[1] * column[1] for line, column in corners], -1)
    return rows, weights


def _positions(sampling_locations: Tensor, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Each sample's x and y in pixels, 0 at the first pixel's centre: [batch, …, samples].

    A point that touches no pixel, or is not a finite number, lies at (-2, -2), without gradient.
    """
    size = torch.stack((width, height), -1)  # [samples, 2], (x, y) like the locations
    position = sampling_locations * size - 0.5
    touches = ((position > -1) & (position < size)).all(-1, keepdim=True)
    # Before any arithmetic: a NaN would spread through a product with zero, and a huge position
    # does not fit an integer. No neighbour of -2 is inside a level.
    x, y = torch.where(touches, position, -2).unbind(-1)
    return x, y


def _neighbours(position: Tensor, size: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The two pixels around a position on one axis, and the share of each in what is read there."""
    before = position.floor()
    share = position - before
    first = before.long()
    pairs = []
    for pixel, weight in ((first, 1 - share), (first + 1, share)):
        # A pixel outside has weight zero; it becomes the nearest one, so that its row exists.
        inside = pixel.clamp(min=0).minimum(size - 1)
        pairs.append((inside, weight * (inside == pixel)))
    return pairs
