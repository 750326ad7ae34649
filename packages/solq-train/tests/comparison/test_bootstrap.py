"""The paired bootstrap: its AP is COCO's, and its intervals hold what they should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from solq_maskcodec import masks_to_rle
from solq_train.comparison.bootstrap import category_matches, intervals, mean_ap
from solq_train.data import CocoAnnotation, CocoFile, CocoImage, annotation_mask
from solq_train.metrics import coco_metrics

SIDE = 24


def rectangle(box) -> dict:
    x, y, width, height = box
    mask = np.zeros((1, SIDE, SIDE), dtype=bool)
    mask[0, y : y + height, x : x + width] = True
    return {"bbox": [float(v) for v in box], "segmentation": masks_to_rle(mask)[0]}


def random_box(rng) -> tuple[int, ...]:
    x, y = rng.integers(0, SIDE - 8, 2)
    return (int(x), int(y), *map(int, rng.integers(4, 9, 2)))


@pytest.fixture(scope="module")
def coco() -> CocoFile:
    """12 images with up to 4 objects of two categories, some of them crowds."""
    rng = np.random.default_rng(1)
    images = []
    for image_id in range(1, 13):
        items = []
        for number in range(int(rng.integers(0, 5))):
            region = rectangle(random_box(rng))
            x, y, width, height = region["bbox"]
            items.append(
                CocoAnnotation(
                    id=100 * image_id + number,
                    category_id=int(rng.integers(1, 3)),
                    bbox_xywh=(x, y, width, height),
                    segmentation=region["segmentation"],
                    area=width * height,
                    is_crowd=bool(rng.random() < 0.15),
                )
            )
        name = f"{image_id}.png"
        images.append(
            CocoImage(
                id=image_id, file_name=name, height=SIDE, width=SIDE, annotations=tuple(items)
            )
        )
    categories = [{"id": n, "name": str(n)} for n in (1, 2, 3)]
    return CocoFile(path=None, images=tuple(images), categories=categories)


def detections(coco: CocoFile, seed: int, noise: int) -> list[dict]:
    """The objects, shifted by up to `noise` pixels, and as many boxes at random places."""
    rng = np.random.default_rng(seed)
    found = []
    for image in coco.images:
        for item in image.annotations:
            x, y, width, height = map(int, item.bbox_xywh)
            x, y = (int(v + rng.integers(0, noise + 1)) for v in (x, y))
            for box in ((x, y, width, height), random_box(rng)):
                score = float(rng.random())
                entry = {"image_id": image.id, "category_id": item.category_id, "score": score}
                found.append(entry | rectangle(box))
    return found


def repeated(coco: CocoFile, found: list[dict], weights) -> tuple[CocoFile, list[dict]]:
    """The data set and the detections with each image as often as its weight says."""
    images, copies = [], []
    for image, times in zip(coco.images, weights, strict=True):
        for copy in range(times):
            image_id = 1000 * image.id + copy
            images.append(replace(image, id=image_id))
            copies += [d | {"image_id": image_id} for d in found if d["image_id"] == image.id]
    return replace(coco, images=tuple(images)), copies


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(4))
def test_the_weighted_ap_is_cocos_ap_of_repeated_images(coco, iou_type, seed):
    found = detections(coco, seed, 2)
    matches = category_matches(coco, found, iou_type)
    weights = np.random.default_rng(seed).integers(0, 4, len(coco.images))
    for times in (weights, np.ones_like(weights)):
        metrics = coco_metrics(*repeated(coco, found, times))
        expected = {"bbox": metrics.bbox, "segm": metrics.segm}[iou_type].AP
        assert 0.01 < expected < 0.95
        assert mean_ap(matches, times) == pytest.approx(expected, abs=1e-12)


def test_nothing_found_has_an_ap_of_zero(coco):
    matches = category_matches(coco, [], "segm")
    assert mean_ap(matches, np.ones(len(coco.images), dtype=np.int64)) == 0.0


def test_a_run_differs_from_itself_by_nothing(coco):
    found = detections(coco, 0, 2)
    (interval,) = intervals(coco, [found, found], "segm", 20, lambda: None)
    assert (interval.difference, interval.low, interval.high) == (0.0, 0.0, 0.0)
    assert interval.share_better == 0.0


def test_a_much_better_run_is_told_from_chance(coco):
    perfect = [
        {
            "image_id": image.id,
            "category_id": item.category_id,
            "bbox": list(item.bbox_xywh),
            "segmentation": masks_to_rle(annotation_mask(item, (SIDE, SIDE))[None])[0],
            "score": 1.0,
        }
        for image in coco.images
        for item in image.annotations
    ]
    poor = detections(coco, 3, 4)
    steps = []
    ahead, same = intervals(coco, [poor, perfect, poor], "segm", 50, lambda: steps.append(1))
    assert 0 < ahead.low < ahead.difference < ahead.high
    assert ahead.share_better == 1.0
    assert (same.low, same.high) == (0.0, 0.0)
    assert len(steps) == 50
    assert "95 % of 50 resamples" in str(ahead)


def test_the_same_resamples_are_drawn_each_time(coco):
    runs = [detections(coco, seed, 3) for seed in (0, 1)]
    first, second = (intervals(coco, runs, "bbox", 10, lambda: None) for _ in range(2))
    assert first == second
