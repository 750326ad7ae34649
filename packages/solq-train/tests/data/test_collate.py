"""Samples → batch."""

from __future__ import annotations

import torch

from solq_train.data.collate import collate
from solq_train.data.records import Target


def test_images_of_any_sizes_keep_their_order_and_size() -> None:
    sizes = [(4, 6), (9, 3)]
    samples = [
        (
            torch.full((3, *size), index, dtype=torch.uint8),
            Target(
                image_id=index,
                image_size=size,
                original_size=size,
                boxes=torch.zeros(0, 4),
                labels=torch.zeros(0, dtype=torch.int64),
            ),
        )
        for index, size in enumerate(sizes)
    ]
    batch = collate(samples)
    assert [tuple(image.shape) for image in batch.images] == [(3, 4, 6), (3, 9, 3)]
    assert [target.image_id for target in batch.targets] == [0, 1]
