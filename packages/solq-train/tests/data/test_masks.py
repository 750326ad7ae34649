"""Masks that are decoded one at a time equal those that are decoded and transformed together."""

from __future__ import annotations

import pickle
import random
import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from solq_maskcodec import crop_masks, polygons_to_rle
from solq_train.data.defects import DataError
from solq_train.data.masks import InstanceMasks, nearest_pixels

SQUARE = [[2.0, 3.0, 12.0, 3.0, 12.0, 11.0, 2.0, 11.0]]


def polygons(rng: random.Random, height: int, width: int, count: int) -> list[list[list[float]]]:
    """Segmentations of up to two polygons, which may reach outside of the image."""

    def polygon() -> list[float]:
        x, y, reach = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(2, width / 3)
        return [rng.uniform(-reach, reach) + (y if i % 2 else x) for i in range(12)]

    return [[polygon() for _ in range(rng.randint(1, 2))] for _ in range(count)]


def transformed(
    masks: InstanceMasks, dense: Tensor, rng: random.Random
) -> tuple[InstanceMasks, Tensor]:
    """Both after one of the steps that transforms are made of."""
    height, width = dense.shape[1:]
    step = rng.randrange(6)
    if step == 0:
        return masks.flipped_horizontally(), dense.flip(-1)
    if step == 1:
        return masks.flipped_vertically(), dense.flip(-2)
    if step == 2:
        return masks.transposed(), dense.transpose(-1, -2)
    if step == 3:
        kept = [rng.random() < 0.8 for _ in range(len(masks))]
        return masks.selected(kept), dense[torch.tensor(kept, dtype=torch.bool)]
    if step == 4:
        size = rng.randint(1, 2 * height), rng.randint(1, 2 * width)
        resized = F.interpolate(dense[:, None].to(torch.uint8), size=size, mode="nearest")
        return masks.resized(size), resized[:, 0].bool()
    top, left = rng.randrange(height), rng.randrange(width)
    size = rng.randint(1, height - top), rng.randint(1, width - left)
    return masks.cut(top, left, *size), dense[:, top : top + size[0], left : left + size[1]]


def some_boxes(rng: random.Random, count: int, image_size: tuple[int, int]) -> Tensor:
    """Boxes of the image, some of which fill it and some of which lie at its border."""
    height, width = image_size
    boxes = []
    for _ in range(count):
        x0, x1 = sorted(rng.choice([0.0, width, rng.uniform(0, width)]) for _ in range(2))
        y0, y1 = sorted(rng.choice([0.0, height, rng.uniform(0, height)]) for _ in range(2))
        boxes.append([x0, y0, x1, y1])
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


@pytest.mark.parametrize("seed", range(60))
def test_any_chain_of_transforms_gives_the_pixels_of_the_dense_masks(seed: int) -> None:
    rng = random.Random(seed)
    height, width = rng.randint(1, 60), rng.randint(1, 80)
    segmentations = polygons(rng, height, width, rng.randint(0, 5))
    masks = InstanceMasks.of(range(len(segmentations)), segmentations, (height, width))
    dense = masks.dense()
    for _ in range(rng.randint(1, 7)):
        masks, dense = transformed(masks, dense, rng)
        assert masks.image_size == tuple(dense.shape[1:]), f"seed {seed}"
    assert torch.equal(masks.dense(), dense), f"seed {seed}"
    boxes = some_boxes(rng, len(masks), masks.image_size)
    size = rng.choice([4, 32, 128])
    found = masks.in_boxes(boxes, size)
    assert torch.equal(found, crop_masks(dense, boxes, size)), f"seed {seed}"


@pytest.mark.parametrize("seed", range(200))
def test_nearest_pixels_are_those_of_torch(seed: int) -> None:
    rng = random.Random(seed)
    before = rng.randint(1, 2000)
    after = rng.choice([before, 2 * before, rng.randint(1, 2000), rng.randint(1, 2000)])
    numbers = torch.stack([torch.arange(before) % 251, torch.arange(before) // 251])
    moved = F.interpolate(numbers[None, ..., None].to(torch.uint8), (after, 1), mode="nearest")
    rest, multiple = moved[0, :, :, 0].long()
    assert np.array_equal(251 * multiple + rest, nearest_pixels(before, after)), f"seed {seed}"


def test_pixels_at_hand_are_kept_exactly() -> None:
    masks = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0)) > 0.5
    assert torch.equal(InstanceMasks.of_pixels(masks.numpy()).dense(), masks)


def test_no_objects_have_masks_of_the_right_shape() -> None:
    masks = InstanceMasks.of([], [], (20, 30)).resized((40, 50))
    assert masks.dense().shape == (0, 40, 50)
    assert masks.in_boxes(torch.zeros(0, 4), 16).shape == (0, 16, 16)


def test_a_broken_run_length_is_named_when_it_is_decoded() -> None:
    broken = {"size": [30, 40], "counts": "05"}
    masks = InstanceMasks.of([7, 8], [SQUARE, broken], (30, 40)).flipped_vertically()
    assert masks.mask(0).sum() == 80
    with pytest.raises(DataError, match="annotation id 8: counts"):
        masks.mask(1)


def test_transformed_masks_are_as_small_as_their_file_when_they_are_sent() -> None:
    masks = InstanceMasks.of(range(9), [SQUARE] * 9, (1000, 1000)).resized((800, 800))
    sent = pickle.dumps(masks)
    assert len(sent) < 10_000
    assert torch.equal(pickle.loads(sent).dense(), masks.dense())


@pytest.mark.parametrize("form", ["polygons", "run lengths"])
def test_a_hundred_objects_of_a_large_image_need_the_memory_of_three_masks(form: str) -> None:
    height, width = 2160, 3840
    rng = random.Random(0)
    segmentations = polygons(rng, height, width, 100)
    masks = InstanceMasks.of(range(100), segmentations, (height, width))
    if form == "run lengths":
        rles = [polygons_to_rle(each, (height, width)) for each in segmentations]
        masks = InstanceMasks.of(range(100), rles, (height, width))
    masks = masks.flipped_horizontally().resized((750, 1333))
    boxes = some_boxes(rng, 100, (750, 1333))
    tracemalloc.start()
    masks.in_boxes(boxes, 128)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * height * width
