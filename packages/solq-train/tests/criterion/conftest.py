"""Targets and predictions that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from solq_maskcodec import DCTMaskCodec
from solq_model.records import Predictions
from solq_train.criterion import EncodedTargets

MakeTargets = Callable[..., EncodedTargets]


@pytest.fixture
def codec() -> DCTMaskCodec:
    return DCTMaskCodec(num_coefficients=16, mask_size=8)


@pytest.fixture
def make_targets(codec: DCTMaskCodec) -> MakeTargets:
    """Encoded targets with full masks from the labels of each image and all their boxes."""

    def make(labels: Sequence[Sequence[int]], boxes: Sequence[Sequence[float]]) -> EncodedTargets:
        flat = [label for image in labels for label in image]
        masks = torch.ones(len(flat), codec.mask_size, codec.mask_size, dtype=torch.bool)
        return EncodedTargets(
            counts=tuple(map(len, labels)),
            labels=torch.tensor(flat, dtype=torch.int64),
            boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            box_masks=masks,
            mask_vectors=codec.encode(masks),
        )

    return make


@pytest.fixture
def random_targets(codec: DCTMaskCodec) -> MakeTargets:
    """Random objects of 3 classes, as many in each image as `counts` says."""

    def make(generator: torch.Generator, counts: tuple[int, ...]) -> EncodedTargets:
        total, size = sum(counts), codec.mask_size
        masks = torch.rand(total, size, size, generator=generator) > 0.5
        return EncodedTargets(
            counts=counts,
            labels=torch.randint(3, (total,), generator=generator),
            boxes=0.2 + 0.3 * torch.rand(total, 4, generator=generator),
            box_masks=masks,
            mask_vectors=codec.encode(masks),
        )

    return make


@pytest.fixture
def random_predictions(codec: DCTMaskCodec) -> Callable[[torch.Generator, int, int], Predictions]:
    """Random predictions for 3 classes that ask for gradients."""

    def make(generator: torch.Generator, batch: int, queries: int) -> Predictions:
        def random(channels: int) -> Tensor:
            return torch.randn(batch, queries, channels, generator=generator)

        return Predictions(
            logits=random(3).requires_grad_(),
            boxes=(0.2 + 0.3 * random(4).sigmoid()).requires_grad_(),
            mask_vectors=random(codec.num_coefficients).requires_grad_(),
        )

    return make
