"""Multi-scale deformable attention in plain torch: the definition every fast kernel must equal."""

import torch
from torch import Tensor
from torch.nn import functional as F


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Weighted sums of the values at each query's points: [batch, queries, heads * channels].

    The arguments are those of `solq_ops.ms_deform_attn`, already validated.

    A point reads its level as an image whose pixel centres lie at (column + 0.5, row + 0.5): the
    bilinear mean of the four pixels around it, where pixels outside the level are zeros. So a query
    is a weighted sum of at most 4 * levels * points rows of `value`, which is what an embedding bag
    computes: one gather forward, one scatter backward, no image layout and no per-level tensors.
    """
    compute_dtype = torch.promote_types(value.dtype, torch.float32)
    rows, weights = _corners(
        value.shape,
        spatial_shapes,
        level_start_index,
        sampling_locations.to(compute_dtype),
        attention_weights.to(compute_dtype),
    )
    output = F.embedding_bag(
        rows.flatten(3).flatten(0, 2),  # [batch * queries * heads, levels * points * 4]
        value.to(compute_dtype).flatten(0, 2),  # [batch * tokens * heads, channels]
        per_sample_weights=weights.flatten(3).flatten(0, 2),
        mode="sum",
    )
    batch, queries = sampling_locations.shape[:2]
    heads, channels = value.shape[2:]
    return output.view(batch, queries, heads * channels).to(value.dtype)


def _corners(
    value_shape: torch.Size,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> tuple[Tensor, Tensor]:
    """Rows of the flattened value, and their weights: [batch, queries, heads, levels, points, 4].

    The row of (item, token, head) is (item * tokens + token) * heads + head.
    """
    batch, tokens, heads, _ = value_shape
    device = sampling_locations.device
    height = spatial_shapes[:, 0, None]  # [levels, 1], against the points
    width = spatial_shapes[:, 1, None]
    x, y = _positions(sampling_locations, height, width)

    first_token = torch.arange(batch, device=device).view(-1, 1, 1, 1, 1) * tokens
    first_token = first_token + level_start_index[:, None]
    head = torch.arange(heads, device=device).view(-1, 1, 1)

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
    """Each point's x and y in pixels, 0 at the first pixel's centre: [batch, queries, heads, …].

    A point that touches no pixel, or is not a finite number, lies at (-2, -2), without gradient.
    """
    size = torch.stack((width, height), -1)  # [levels, 1, 2], (x, y) like the locations
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
