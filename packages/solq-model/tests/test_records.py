"""Records: padded images, and instances with their masks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_masks

from solq_maskcodec import DCTMaskCodec
from solq_model import Instances, PaddedImages
from solq_model.mask_logits import MaskLogits

CODEC = DCTMaskCodec(num_coefficients=64, mask_size=8, threshold=0.5)


def instances(count, *, image_size=(20, 30), seed=0):
    """Instances with random masks and boxes, some of which reach outside the image."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * torch.tensor([25.0, 15.0]) - 3
    sizes = torch.rand(count, 2, generator=generator) * 12 + 0.5
    return Instances(
        scores=torch.rand(count, generator=generator).sort(descending=True).values,
        labels=torch.randint(0, 3, (count,), generator=generator),
        boxes=torch.cat([corners, corners + sizes], dim=1),
        mask_vectors=CODEC.encode(torch.rand(count, 8, 8, generator=generator) > 0.4),
        codec=CODEC,
        image_size=image_size,
    )


def test_images_are_padded_to_the_largest_height_and_width():
    images = [torch.ones(3, 2, 5), 2 * torch.ones(3, 4, 3)]
    batch = PaddedImages.from_list(images)
    assert batch.tensors.shape == (2, 3, 4, 5)
    assert batch.tensors[0, 0].tolist() == [[1] * 5, [1] * 5, [0] * 5, [0] * 5]
    assert batch.tensors[1, 2].tolist() == [[2, 2, 2, 0, 0]] * 4
    assert batch.padding[0].tolist() == [[False] * 5] * 2 + [[True] * 5] * 2
    assert batch.padding[1].tolist() == [[False, False, False, True, True]] * 4


def test_one_pixel_is_an_image():
    batch = PaddedImages.from_list([torch.ones(3, 1, 1).double()])
    assert batch.tensors.dtype == torch.float64
    assert not batch.padding.any()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "images must hold at least one"),
        ([torch.ones(3, 2, 2), torch.ones(2, 2)], r"images\[1\] must be .*, got shape \(2, 2\)"),
        ([torch.ones(1, 2, 2)], r"images\[0\] must be .*, got shape \(1, 2, 2\)"),
        ([torch.ones(3, 0, 2)], r"images\[0\] must be .*, got shape \(3, 0, 2\)"),
    ],
)
def test_what_is_no_image_is_named_by_its_index(images, message):
    with pytest.raises(ValueError, match=message):
        PaddedImages.from_list(images)


def test_boxes_without_masks_say_so_and_can_be_picked():
    found = instances(3)
    boxes_only = replace(found, mask_vectors=None, codec=None)
    assert found.has_masks
    assert not boxes_only.has_masks
    assert torch.equal(boxes_only.select(torch.tensor([2])).boxes, found.boxes[2:])
    for read in (lambda: boxes_only.masks, lambda: boxes_only.box_masks, boxes_only.rle):
        with pytest.raises(ValueError, match=r"instances must have mask vectors .* got boxes only"):
            read()


def test_spatial_masks_are_those_of_the_image_wherever_the_boxes_are():
    logits = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0))
    spatial = MaskLogits(logits=logits, image_padding=torch.zeros(8, 12, dtype=torch.bool))
    found = replace(instances(3), mask_vectors=None, codec=None, mask_logits=spatial)
    assert found.has_masks
    assert torch.equal(found.masks, spatial.masks((20, 30)))
    assert found.rle() == spatial.rle((20, 30))
    picked = found.select(torch.tensor([2, 0]))
    assert torch.equal(picked.masks, found.masks[[2, 0]])
    with pytest.raises(ValueError, match=r"mask vectors .* got spatial masks; see `masks`"):
        _ = found.box_masks


def test_a_full_mask_fills_the_pixels_of_its_box():
    found = Instances(
        scores=torch.ones(1),
        labels=torch.zeros(1, dtype=torch.int64),
        boxes=torch.tensor([[2.0, 1.0, 5.0, 4.0]]),
        mask_vectors=CODEC.encode(torch.ones(1, 8, 8)),
        codec=CODEC,
        image_size=(6, 8),
    )
    expected = torch.zeros(6, 8, dtype=torch.bool)
    expected[1:4, 2:5] = True
    assert torch.equal(found.masks[0], expected)


@pytest.mark.parametrize("count", [0, 1, 37])
def test_rle_equals_the_masks(count):
    found = instances(count)
    encoded = found.rle()
    assert len(found) == len(encoded) == count
    for rle, mask in zip(encoded, found.masks.numpy(), strict=True):
        expected = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rle == {"size": [20, 30], "counts": expected["counts"].decode()}


def test_selecting_keeps_what_belongs_together():
    found = instances(5)
    picked = found.select(torch.tensor([3, 0]))
    assert len(picked) == 2
    assert picked.image_size == found.image_size
    assert torch.equal(picked.masks, found.masks[[3, 0]])
    assert torch.equal(picked.boxes, found.boxes[[3, 0]])
    assert torch.equal(picked.labels, found.labels[[3, 0]])
    assert torch.equal(found.select(found.scores > found.scores[2]).scores, found.scores[:2])


def test_no_instances_have_no_masks():
    nothing = instances(3).select(torch.zeros(3, dtype=torch.bool))
    assert len(nothing) == 0
    assert nothing.masks.shape == (0, 20, 30)
    assert nothing.rle() == []
