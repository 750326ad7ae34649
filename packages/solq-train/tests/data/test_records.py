"""Targets and batches on devices."""

from __future__ import annotations

import torch

from solq_train.data.records import Batch, Target


def test_to_moves_every_tensor_and_keeps_the_rest() -> None:
    target = Target(
        image_id=5,
        image_size=(4, 6),
        original_size=(8, 12),
        boxes=torch.zeros(2, 4),
        labels=torch.zeros(2, dtype=torch.int64),
        box_masks=torch.zeros(2, 8, 8, dtype=torch.bool),
        image_masks=torch.zeros(2, 4, 6, dtype=torch.bool),
    )
    moved = Batch(images=[torch.zeros(3, 4, 6, dtype=torch.uint8)], targets=[target]).to("meta")
    assert moved.images[0].device.type == "meta"
    for name in ("boxes", "labels", "box_masks", "image_masks"):
        assert getattr(moved.targets[0], name).device.type == "meta"
    assert moved.targets[0].image_id == 5
    assert moved.targets[0].image_size == (4, 6)
    assert moved.targets[0].original_size == (8, 12)
