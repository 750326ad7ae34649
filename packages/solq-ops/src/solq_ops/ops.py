"""The public operators, and their registration as `torch.ops.solq.*`."""

import torch
from torch import Tensor

from . import reference
from .validate import validate_ms_deform_attn

# A fragment, because a compiled library adds its own kernels to the same namespace.
_library = torch.library.Library("solq", "FRAGMENT")
_library.define(
    "ms_deform_attn(Tensor value, Tensor spatial_shapes, Tensor level_start_index, "
    "Tensor sampling_locations, Tensor attention_weights) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
# Composite: autograd, torch.compile and torch.export see the operators the reference is made of.
_library.impl("ms_deform_attn", reference.ms_deform_attn, "CompositeImplicitAutograd")


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """What each query reads from feature maps of several sizes: [batch, queries, heads * channels].

    Args:
        value: [batch, tokens, heads, channels], the pixels of each level, row by row;
            float64, float32, bfloat16 or float16.
        spatial_shapes: [levels, 2] int64, each level's (height, width).
        level_start_index: [levels] int64, each level's first token.
        sampling_locations: [batch, queries, heads, levels, points, 2], (x, y) where (0, 0) is
            a level's upper left corner and (1, 1) its lower right; what lies outside reads zeros.
        attention_weights: [batch, queries, heads, levels, points], used as they are.

    Locations and weights have the dtype of `value`, or float32 where that is the wider. Positions
    and sums are computed in float32 at least; the result has the dtype of `value`.

    Every rank, size, dtype and device is checked. Whether the level sizes fit the tokens is checked
    on the CPU only: reading them from an accelerator would make the host wait for it.

    Raises:
        TypeError: an argument is not a tensor or has a wrong dtype.
        ValueError: an argument has a wrong shape, device or (on the CPU) wrong level sizes.
    """
    validate_ms_deform_attn(
        value, spatial_shapes, level_start_index, sampling_locations, attention_weights
    )
    output: Tensor = torch.ops.solq.ms_deform_attn(
        value, spatial_shapes, level_start_index, sampling_locations, attention_weights
    )
    return output
