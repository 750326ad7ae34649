"""Two published signatures, so that other code bases switch by changing one import.

from solq_ops.compat import MSDeformAttnFunction  # Deformable DETR and its descendants
from solq_ops.compat import MultiScaleDeformableAttnFunction  # mmcv
"""

import torch
from torch import Tensor

from .ops import ms_deform_attn


class MSDeformAttnFunction:
    """In place of `models.ops.functions.MSDeformAttnFunction` of Deformable DETR, SOLQ and others.

    Only `apply` is there; its gradients are those of `solq_ops.ms_deform_attn`.
    """

    @staticmethod
    def apply(
        value: Tensor,
        value_spatial_shapes: Tensor,
        value_level_start_index: Tensor,
        sampling_locations: Tensor,
        attention_weights: Tensor,
        im2col_step: int = 64,  # noqa: ARG004
    ) -> Tensor:
        """`solq_ops.ms_deform_attn` of these arguments.

        Locations and weights may have any floating dtype, as those callers pass them in that of
        `value`; they are lifted to float32. The last argument is ignored: there are no columns to
        be made in steps, and so no batch size that does not fit.
        """
        wide = torch.promote_types(value.dtype, torch.float32)
        return ms_deform_attn(
            value,
            value_spatial_shapes,
            value_level_start_index,
            sampling_locations.to(wide),
            attention_weights.to(wide),
        )


class MultiScaleDeformableAttnFunction(MSDeformAttnFunction):
    """In place of `mmcv.ops.multi_scale_deform_attn.MultiScaleDeformableAttnFunction`."""
