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
    left, top, right_share, bottom_share = _split_position(sampling_locations, height, width)

    first_token = torch.arange(batch, device=device).view(-1, 1, 1, 1, 1) * tokens
    first_token = first_token + level_start_index[:, None]
    head = torch.arange(heads, device=device).view(-1, 1, 1)

    rows, weights = [], []
    for y, share_y in ((top, 1 - bottom_share), (top + 1, bottom_share)):
        for x, share_x in ((left, 1 - right_share), (left + 1, right_share)):
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            # A corner outside has weight zero; it names the nearest pixel, so that its row exists.
            token = y.clamp(min=0).minimum(height - 1) * width + x.clamp(min=0).minimum(width - 1)
            rows.append((first_token + token) * heads + head)
            weights.append(share_x * share_y * attention_weights * inside)
    return torch.stack(rows, -1), torch.stack(weights, -1)


def _split_position(
    sampling_locations: Tensor, height: Tensor, width: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each point's upper left pixel (x, y; integers) and the shares of its right and lower pixels.

    Each is [batch, queries, heads, levels, points]. A point that touches no pixel, or is not a
    finite number, gets a pixel whose four corners are all outside, and no gradient.
    """
    size = torch.stack((width, height), -1)  # [levels, 1, 2], (x, y) like the locations
    position = sampling_locations * size - 0.5
    touches = ((position > -1) & (position < size)).all(-1, keepdim=True)
    # Before any arithmetic: a NaN would spread through a product with zero, and a huge position
    # does not fit an integer. No corner of (-2, -2) is inside a level.
    position = torch.where(touches, position, -2)
    pixel = position.floor()
    share = position - pixel
    left, top = pixel.long().unbind(-1)
    right_share, bottom_share = share.unbind(-1)
    return left, top, right_share, bottom_share
