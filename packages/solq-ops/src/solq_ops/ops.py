"""The public operators: arguments checked, levels and points made one axis, kernel called."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import registration
from .validate import validate_ms_deform_attn, validate_ms_deform_attn_fused


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    points_per_level: Sequence[int] | None = None,
) -> Tensor:
    """What each query reads from feature maps of several sizes: [batch, queries, heads * channels].

    Multi-scale deformable attention (Deformable DETR, arXiv:2010.04159, equation 3), with the
    arguments of the published operator (`MSDeformAttnFunction` of Deformable-DETR, models/ops).

    Args:
        value: [batch, tokens, heads, channels], the pixels of each level, row by row;
            float64, float32, bfloat16 or float16.
        spatial_shapes: [levels, 2] int64, each level's (height, width).
        level_start_index: [levels] int64, each level's first token.
        sampling_locations: [batch, queries, heads, levels, points, 2] float32 (float64 beside such
            a value), (x, y) where (0, 0) is a level's upper left corner and (1, 1) its lower right.
            What lies outside reads zeros; a location that is NaN or infinite reads nothing and gets
            a zero gradient.
        attention_weights: [batch, queries, heads, levels, points], used as they are; they have the
            dtype of `value` or of the locations.
        points_per_level: where levels differ in their number of points, those numbers, each >= 1.
            Locations are then [batch, queries, heads, samples, 2] and weights
            [batch, queries, heads, samples], level after level, samples being their sum.

    Positions and sums are computed in float32 at least; the result has the dtype of `value`, each
    gradient the dtype of its argument. Under autocast only `value` is cast.

    Every rank, size, dtype and device is checked. Whether the level sizes fit the tokens is checked
    on the CPU only: reading them from an accelerator would make the host wait for it.

    Raises:
        TypeError: an argument is not a tensor or has a wrong dtype.
        ValueError: an argument has a wrong shape, device or (on the CPU) wrong level sizes.
    """
    validate_ms_deform_attn(
        value,
        spatial_shapes,
        level_start_index,
        sampling_locations,
        attention_weights,
        points_per_level,
    )
    _refuse_forward_mode("ms_deform_attn", value, sampling_locations, attention_weights)
    if points_per_level is None:
        levels, points = attention_weights.shape[3:]
        points_per_level = [points] * levels
        sampling_locations = sampling_locations.flatten(3, 4)
        attention_weights = attention_weights.flatten(3)
    output: Tensor = registration.ms_deform_attn(
        value,
        spatial_shapes,
        level_start_index,
        sampling_locations,
        attention_weights,
        points_per_level,
    )
    return output


def ms_deform_attn_fused(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_logits: Tensor,
    points_per_level: Sequence[int] | None = None,
) -> Tensor:
    """`ms_deform_attn` from what a layer predicts; locations and weights are never in memory.

    The softmax over a query's points and the sampling locations (`MSDeformAttn.forward` of
    Deformable-DETR, models/ops/modules) are computed inside the kernel, forward and backward.

    Args:
        value: [batch, tokens, heads, channels], the pixels of each level, row by row;
            float64, float32, bfloat16 or float16.
        spatial_shapes: [levels, 2] int64, each level's (height, width).
        level_start_index: [levels] int64, each level's first token.
        reference_points: [batch, queries, levels, 2 or 4] float32 (float64 beside such a value),
            (x, y) or (cx, cy, width, height) in 0..1 of each level.
        sampling_offsets: [batch, queries, heads, levels, points, 2], (x, y) from the reference: in
            cells of the level from a point, in half boxes divided by the level's number of points
            from a box.
        attention_logits: [batch, queries, heads, levels * points], level after level; their softmax
            weighs the points. Offsets and logits have the same dtype, that of `value` or of the
            reference points.
        points_per_level: where levels differ in their number of points, those numbers, each >= 1.
            Offsets are then [batch, queries, heads, samples, 2] and logits
            [batch, queries, heads, samples], level after level, samples being their sum.

    Positions, softmax and sums are computed in float32 at least; the result has the dtype of
    `value`, each gradient the dtype of its argument. Under autocast only `value` is cast. A point
    that is outside, or not finite, reads zeros but takes part in the softmax. The checks are those
    of `ms_deform_attn`.

    Raises:
        TypeError: an argument is not a tensor or has a wrong dtype.
        ValueError: an argument has a wrong shape, device or (on the CPU) wrong level sizes.
    """
    validate_ms_deform_attn_fused(
        value,
        spatial_shapes,
        level_start_index,
        reference_points,
        sampling_offsets,
        attention_logits,
        points_per_level,
    )
    _refuse_forward_mode(
        "ms_deform_attn_fused", value, reference_points, sampling_offsets, attention_logits
    )
    if points_per_level is None:
        levels, points = sampling_offsets.shape[3:5]
        points_per_level = [points] * levels
        sampling_offsets = sampling_offsets.flatten(3, 4)
    output: Tensor = registration.ms_deform_attn_fused(
        value,
        spatial_shapes,
        level_start_index,
        reference_points,
        sampling_offsets,
        attention_logits,
        points_per_level,
    )
    return output


def _refuse_forward_mode(name: str, *tensors: Tensor) -> None:
    """An error where torch would take the tangent of the result for zero, without a word."""
    if forward_ad._current_level < 0 or torch.compiler.is_compiling():
        return
    if any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors):
        msg = (
            f"solq_ops.{name} has no forward-mode derivative (torch.func.jvp, forward_ad); "
            "backward() and torch.autograd.grad differentiate it"
        )
        raise NotImplementedError(msg)
