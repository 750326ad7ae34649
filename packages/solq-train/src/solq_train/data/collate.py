"""Samples → Batch; padding to a common size is the model's business."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import UInt8
from torch import Tensor

from solq_train.data.records import Batch, Target


def collate(samples: Sequence[tuple[UInt8[Tensor, "3 _ _"], Target]]) -> Batch:
    """The samples of a data set as one batch, in their order."""
    return Batch(images=[image for image, _ in samples], targets=[target for _, target in samples])
