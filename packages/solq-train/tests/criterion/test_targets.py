"""Ground truth is encoded once, for all images of a batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from solq_train.criterion import encode_targets
from solq_train.data import Target


def target(image_size, boxes, labels) -> Target:
    """Objects that fill their boxes."""
    return Target(
        image_id=1,
        image_size=image_size,
        original_size=image_size,
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        box_masks=torch.ones(len(boxes), 8, 8, dtype=torch.bool),
    )


@pytest.fixture
def targets() -> list[Target]:
    return [
        target((20, 40), [(4, 5, 12, 15)], [2]),
        target((10, 10), [], []),
        target((50, 25), [(0, 0, 25, 50), (5, 10, 10, 40)], [0, 1]),
    ]


def test_boxes_are_shares_of_their_own_image(targets, codec):
    expected = [[0.2, 0.5, 0.2, 0.5], [0.5, 0.5, 1.0, 1.0], [0.3, 0.5, 0.2, 0.6]]
    torch.testing.assert_close(encode_targets(targets, codec).boxes, torch.tensor(expected))


def test_objects_of_all_images_follow_each_other(targets, codec):
    encoded = encode_targets(targets, codec)
    assert encoded.counts == (1, 0, 2)
    assert encoded.offsets == [0, 1, 1]
    assert encoded.labels.tolist() == [2, 0, 1]


def test_without_a_codec_there_are_boxes_only(targets, codec):
    encoded = encode_targets(targets, None)
    assert encoded.box_masks is None
    assert encoded.mask_vectors is None
    assert torch.equal(encoded.boxes, encode_targets(targets, codec).boxes)


def test_masks_in_their_boxes_are_encoded(targets, codec):
    encoded = encode_targets(targets, codec)
    assert encoded.box_masks.shape == (3, 8, 8)
    assert encoded.box_masks.dtype == torch.bool
    assert encoded.box_masks.all()
    # A full mask has its mean in the first coefficient (8 is the side), and nothing else.
    expected = torch.zeros(3, 16)
    expected[:, 0] = 8.0
    torch.testing.assert_close(encoded.mask_vectors, expected)


def test_targets_without_masks_in_boxes_cannot_be_encoded(targets, codec):
    targets[1] = replace(targets[1], box_masks=None)
    with pytest.raises(ValueError, match="targets must have box_masks for a codec to encode"):
        encode_targets(targets, codec)


def test_images_without_any_object_give_empty_targets(codec):
    encoded = encode_targets([target((10, 10), [], []), target((8, 9), [], [])], codec)
    assert encoded.counts == (0, 0)
    assert encoded.offsets == [0, 0]
    assert encoded.labels.dtype == torch.int64
    assert encoded.boxes.shape == (0, 4)
    assert encoded.box_masks.shape == (0, 8, 8)
    assert encoded.mask_vectors.shape == (0, 16)


def test_targets_ask_for_no_gradient(targets, codec):
    encoded = encode_targets(targets, codec)
    assert not encoded.mask_vectors.requires_grad
    assert not encoded.boxes.requires_grad


def test_masks_in_the_image_stay_as_they_are_for_networks_of_spatial_masks():
    sizes = [(1, 10, 20), (0, 8, 9)]
    items = [
        replace(
            target(size[1:], [(0, 0, 5, 5)] * size[0], [2] * size[0]),
            image_masks=torch.zeros(size, dtype=torch.bool),
        )
        for size in sizes
    ]
    encoded = encode_targets(items, None)
    assert [masks.shape for masks in encoded.image_masks] == sizes
    assert encoded.image_masks[0] is items[0].image_masks
