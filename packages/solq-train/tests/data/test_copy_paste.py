"""Pasted objects: where their pixels come from, what they cover, and the boxes of what is seen."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from solq_train.data.copy_paste import LEAST_PIXELS, LEAST_SHARE, paste_objects
from solq_train.data.masks import InstanceMasks
from solq_train.data.records import Objects

Rectangles = list[tuple[int, int, int, int]]


def sample(
    size: tuple[int, int], rectangles: Rectangles, color: int, label: int
) -> tuple[Image.Image, Objects]:
    """A picture of one colour whose objects are rectangles (x0, y0, x1, y1) of one label."""
    masks = np.zeros((len(rectangles), *size), dtype=bool)
    for mask, (x0, y0, x1, y1) in zip(masks, rectangles, strict=True):
        mask[y0:y1, x0:x1] = True
    objects = Objects(
        image_id=label,
        image_size=size,
        original_size=size,
        boxes=torch.tensor(rectangles, dtype=torch.float32).reshape(-1, 4),
        labels=torch.full((len(rectangles),), label),
        masks=InstanceMasks.of_pixels(masks),
    )
    return Image.new("RGB", size[::-1], (color, color, color)), objects


def pasted(
    under: Rectangles,
    over: Rectangles,
    size: tuple[int, int] = (30, 40),
    over_size: tuple[int, int] = (30, 40),
    seed: int = 0,
) -> tuple[np.ndarray, Objects]:
    """Objects of label 2 on white pasted over objects of label 1 on black."""
    picture, objects = paste_objects(
        *sample(size, under, 0, 1), *sample(over_size, over, 255, 2), random.Random(seed)
    )
    return np.asarray(picture)[..., 0], objects


def test_a_pasted_object_brings_its_pixels_and_no_others() -> None:
    pixels, objects = pasted([], [(5, 6, 15, 20)])
    assert objects.labels.tolist() == [2]
    assert objects.boxes.tolist() == [[5, 6, 15, 20]]
    np.testing.assert_array_equal(pixels == 255, objects.masks.mask(0))
    assert objects.masks.mask(0).sum() == 10 * 14
    assert set(np.unique(pixels)) == {0, 255}


def test_what_is_covered_is_taken_from_a_mask_and_its_box() -> None:
    _, objects = pasted([(10, 10, 30, 20)], [(20, 0, 40, 30)])
    assert objects.labels.tolist() == [1, 2]
    assert objects.boxes.tolist() == [[10, 10, 20, 20], [20, 0, 40, 30]]
    assert objects.masks.mask(0).sum() == 100
    assert not (objects.masks.mask(0) & objects.masks.mask(1)).any()


def test_objects_that_are_not_covered_stay_as_they_are() -> None:
    picture, objects = sample((30, 40), [(0, 0, 8, 8)], 0, 1)
    loose = torch.tensor([[0.0, 0.0, 9.5, 9.5]])  # annotated boxes are not always tight
    objects = replace(objects, boxes=loose)
    source = sample((30, 40), [(20, 20, 30, 28)], 255, 2)
    _, found = paste_objects(picture, objects, *source, random.Random(0))
    assert torch.equal(found.boxes[:1], loose)
    assert torch.equal(found.masks.dense()[:1], objects.masks.dense())


@pytest.mark.parametrize(
    ("under", "is_kept"),
    [
        ((0, 0, 20, 20), False),  # covered wholly
        ((0, 0, 15, 21), False),  # 15 pixels are left: too few
        ((0, 0, 20, 21), False),  # 20 pixels are left, less than a tenth of 420
        ((0, 4, 4, 24), True),  # 16 pixels are left of 80
    ],
)
def test_objects_of_which_too_little_is_left_are_dropped(
    under: tuple[int, int, int, int], is_kept: bool
) -> None:
    assert (LEAST_PIXELS, LEAST_SHARE) == (16, 0.1)
    _, objects = pasted([under], [(0, 0, 20, 20)])
    assert objects.labels.tolist() == ([1, 2] if is_kept else [2])


def test_a_source_without_objects_changes_nothing() -> None:
    picture, objects = sample((30, 40), [(0, 0, 8, 8)], 0, 1)
    found = paste_objects(picture, objects, *sample((20, 20), [], 255, 2), random.Random(0))
    assert found == (picture, objects)


def test_specks_are_not_pasted() -> None:
    pixels, objects = pasted([], [(0, 0, 3, 5)])
    assert len(objects.labels) == 0
    assert not pixels.any()


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("over_size", [(12, 60), (50, 16), (20, 20), (70, 90)])
def test_a_source_of_any_size_is_placed_inside_with_tight_boxes(
    over_size: tuple[int, int], seed: int
) -> None:
    height, width = over_size
    over = [(1, 1, 8, 9), (width // 2, height // 2, width, height), (0, 0, width, 6)]
    under = [(0, 0, 40, 15), (10, 10, 30, 30)]
    pixels, objects = pasted(under, over, over_size=over_size, seed=seed)
    masks = objects.masks.dense().numpy()
    where = f"seed {seed}"
    np.testing.assert_array_equal(masks[objects.labels == 2].any(0), pixels == 255, where)
    assert not masks[objects.labels == 1].any(0)[pixels == 255].any(), where
    for mask, (x0, y0, x1, y1) in zip(masks, objects.boxes.int().tolist(), strict=True):
        assert mask.sum() >= LEAST_PIXELS, where
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (x0, y0, x1, y1), where


def test_any_number_of_the_objects_is_pasted() -> None:
    over = [(10 * i, 0, 10 * i + 8, 20) for i in range(4)]
    counts = {len(pasted([], over, seed=seed)[1].labels) for seed in range(60)}
    assert counts == {1, 2, 3, 4}
