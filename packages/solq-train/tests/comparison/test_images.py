"""The quality of what was found in an image, and the images where it differs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from solq_maskcodec import masks_to_rle
from solq_train.comparison import image_differences, image_quality
from solq_train.data import CocoAnnotation, CocoFile, CocoImage


def rectangle(x: int, y: int, width: int, height: int) -> dict:
    mask = np.zeros((1, 20, 20), dtype=bool)
    mask[0, y : y + height, x : x + width] = True
    return {"bbox": [x, y, width, height], "segmentation": masks_to_rle(mask)[0]}


def thing(number: int, box: tuple[int, ...], category_id: int = 1, *, is_crowd: bool = False):
    region = rectangle(*box)
    return CocoAnnotation(
        id=number,
        category_id=category_id,
        bbox_xywh=tuple(map(float, box)),
        segmentation=region["segmentation"],
        area=float(box[2] * box[3]),
        is_crowd=is_crowd,
    )


def image(*annotations: CocoAnnotation, image_id: int = 1) -> CocoImage:
    name = f"{image_id}.png"
    return CocoImage(id=image_id, file_name=name, height=20, width=20, annotations=annotations)


def found(box: tuple[int, ...], category_id: int = 1, score: float = 0.9, image_id: int = 1):
    return {"image_id": image_id, "category_id": category_id, "score": score, **rectangle(*box)}


A, B, HALF_OF_A = (0, 0, 8, 8), (10, 10, 8, 8), (0, 0, 8, 4)


@pytest.mark.parametrize("has_masks", [True, False])
@pytest.mark.parametrize(
    ("detections", "expected"),
    [
        ([found(A), found(B)], 1.0),
        ([], 0.0),
        ([found(A)], 2 * 1 / 3),
        ([found(A), found(B), found((0, 12, 4, 4))], 2 * 2 / 5),
        ([found(A), found(B), found(A)], 2 * 2 / 5),
        ([found(HALF_OF_A), found(B)], 2 * 1.5 / 4),
        ([found(A, category_id=2), found(B)], 2 * 1 / 4),
        # The stronger one does not take the object from the better one.
        ([found(HALF_OF_A, score=0.99), found(A, score=0.4), found(B)], 2 * 2 / 5),
    ],
)
def test_quality_counts_pairs_and_what_has_none(detections, expected, has_masks):
    record = image(thing(1, A), thing(2, B))
    assert image_quality(record, detections, has_masks=has_masks) == pytest.approx(expected)


def test_nothing_found_where_nothing_is_to_find_is_perfect():
    assert image_quality(image(), [], has_masks=True) == 1.0
    assert image_quality(image(), [found(A)], has_masks=True) == 0.0


def test_detections_in_a_crowd_of_their_category_count_for_nothing():
    record = image(thing(1, A), thing(2, (9, 0, 11, 20), is_crowd=True))
    assert image_quality(record, [found(A), found(B)], has_masks=True) == 1.0
    other = [found(A), found(B, category_id=2)]
    assert image_quality(record, other, has_masks=True) == pytest.approx(2 / 3)


def test_images_are_in_order_of_their_largest_difference_and_weak_detections_left_out():
    images = tuple(image(thing(n, A), image_id=n) for n in (1, 2, 3))
    coco = CocoFile(path=None, images=images, categories=[{"id": 1, "name": "a"}])
    runs = [
        SimpleNamespace(has_masks=True, detections=detections)
        for detections in (
            [found(A, image_id=n) for n in (1, 2, 3)],
            [found(A), found(HALF_OF_A, image_id=2), found(A, image_id=3, score=0.2)],
        )
    ]
    steps = []
    differences = image_differences(coco, runs, 0.3, lambda: steps.append(1))
    assert [d.image.id for d in differences] == [3, 2, 1]
    assert [d.qualities for d in differences] == [(1.0, 0.0), (1.0, 0.5), (1.0, 1.0)]
    assert [d.largest for d in differences] == [-1.0, -0.5, 0.0]
    assert [len(own) for own in differences[0].detections] == [1, 0]
    assert len(steps) == 3
