"""Scenes: who covers whom, how much is left to see, and that polygons say the truth."""

from __future__ import annotations

import numpy as np
import pytest

from solq_train.data.scenes import draw_scene
from solq_train.data.segmentations import segmentation_mask


@pytest.mark.parametrize("seed", range(8))
def test_visible_masks_do_not_overlap(seed: int) -> None:
    scene = draw_scene(np.random.default_rng(seed), 128, 6, with_crowd=seed % 2 == 0)
    covered = np.sum([item.mask for item in scene.objects], axis=0)
    assert covered.max() == 1, f"seed {seed}"


@pytest.mark.parametrize("seed", range(8))
def test_polygons_cover_exactly_the_visible_mask(seed: int) -> None:
    scene = draw_scene(np.random.default_rng(seed), 128, 6)
    for item in scene.objects:
        if item.polygons:
            mask = segmentation_mask(item.polygons, (128, 128))
            np.testing.assert_array_equal(mask, item.mask, err_msg=f"seed {seed}")


def test_rings_have_no_polygons_and_a_hole() -> None:
    rng = np.random.default_rng(0)
    rings = [
        item for _ in range(10) for item in draw_scene(rng, 128, 1).objects if item.kind == "ring"
    ]
    assert rings
    for ring in rings:
        rows, columns = np.nonzero(ring.mask)
        assert not ring.polygons
        assert not ring.mask[round(rows.mean()), round(columns.mean())]


def test_objects_stand_out_from_the_background() -> None:
    rng = np.random.default_rng(1)
    for index in range(20):
        scene = draw_scene(rng, 128, 3)
        picture = scene.picture.astype(np.float64) / 255
        masks = [item.mask for item in scene.objects]
        background = picture[~np.any(masks, axis=0)].mean(axis=0)
        for mask in masks:
            assert np.linalg.norm(picture[mask].mean(axis=0) - background) > 0.15, index


def test_objects_stay_visible_enough() -> None:
    rng = np.random.default_rng(2)
    smallest = min(item.mask.sum() for _ in range(30) for item in draw_scene(rng, 128, 6).objects)
    # The thinnest star of the least radius has 150 pixels, and loses 45 % of them at the most.
    assert smallest >= 0.55 * 150


def test_a_scene_may_be_empty() -> None:
    scene = draw_scene(np.random.default_rng(0), 64, 0)
    assert scene.objects == []
    assert scene.picture.shape == (64, 64, 3)
    assert scene.picture.dtype == np.uint8


def test_a_crowd_is_one_object_of_many_parts() -> None:
    scene = draw_scene(np.random.default_rng(0), 128, 2, with_crowd=True)
    assert [item.is_crowd for item in scene.objects].count(True) == 1
    assert not scene.objects[0].polygons


def test_lengths_scale_with_the_image() -> None:
    areas = [
        np.mean(
            [
                item.mask.mean()
                for seed in range(20)
                for item in draw_scene(np.random.default_rng(seed), size, 2).objects
            ]
        )
        for size in (64, 192)
    ]
    assert areas[0] == pytest.approx(areas[1], rel=0.35)
