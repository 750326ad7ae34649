"""The confusion matrix: which category was found where which one is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from solq_train.data import CocoAnnotation, CocoFile, CocoImage
from solq_train.metrics.confusion import Confusion, confusion_matrix

CUP, DOG, CAR = 3, 7, 20


def square(category_id: int, left: int, *, is_crowd: bool = False) -> CocoAnnotation:
    """An object of 10 x 10 pixels."""
    x = left
    return CocoAnnotation(
        id=left,
        category_id=category_id,
        bbox_xywh=(float(x), 0.0, 10.0, 10.0),
        segmentation=[[x, 0, x + 10, 0, x + 10, 10, x, 10]],
        area=100.0,
        is_crowd=is_crowd,
    )


def found(category_id: int, left: float, score: float = 0.9) -> dict:
    return {
        "image_id": 1,
        "category_id": category_id,
        "bbox": [left, 0.0, 10.0, 10.0],
        "score": score,
    }


def confusion(objects, detections) -> Confusion:
    image = CocoImage(id=1, file_name="a", height=20, width=100, annotations=tuple(objects))
    categories = [{"id": number, "name": str(number)} for number in (DOG, CUP, CAR)]
    coco = CocoFile(path=Path("a.json"), images=(image,), categories=categories)
    return confusion_matrix(coco, detections, threshold=0.3, has_masks=False)


@pytest.mark.parametrize(
    ("objects", "detections", "expected"),
    [
        ([square(CUP, 0)], [found(CUP, 0)], {(0, 0): 1}),
        ([square(CUP, 0)], [found(DOG, 1)], {(0, 1): 1}),
        ([square(CUP, 0)], [], {(0, 3): 1}),
        ([], [found(CAR, 0)], {(3, 2): 1}),
        # An overlap of 4 in 10 pixels is an IoU of 0.25.
        ([square(CUP, 0)], [found(CUP, 6)], {(0, 3): 1, (3, 0): 1}),
        ([square(CUP, 0)], [found(CUP, 0, score=0.2)], {(0, 3): 1}),
        # The closest is the partner, whatever the scores and categories.
        ([square(CUP, 0)], [found(CUP, 2, 1.0), found(DOG, 0, 0.4)], {(0, 1): 1, (3, 0): 1}),
        ([square(CUP, 0), square(DOG, 1)], [found(DOG, 0), found(DOG, 1)], {(0, 1): 1, (1, 1): 1}),
        # A crowd is nothing to find, and takes what lies in it if it is of its category.
        ([square(CUP, 0, is_crowd=True)], [], {}),
        ([square(CUP, 0, is_crowd=True)], [found(CUP, 1), found(CUP, 2)], {}),
        ([square(CUP, 0, is_crowd=True)], [found(DOG, 1)], {(3, 1): 1}),
        ([], [], {}),
    ],
)
def test_objects_and_detections_are_paired_by_their_overlap(objects, detections, expected):
    result = confusion(objects, detections)
    assert result.category_ids == (CUP, DOG, CAR)
    counts = np.argwhere(result.counts)
    assert {tuple(place): result.counts[tuple(place)] for place in counts.tolist()} == expected


def test_the_most_confused_are_kept_and_others_count_as_none():
    counts = np.array(
        [
            [5, 2, 1, 0],
            [0, 9, 0, 0],
            [1, 0, 3, 4],
            [0, 0, 6, 0],
        ]
    )
    whole = Confusion(category_ids=(CUP, DOG, CAR), counts=counts)
    part = whole.most_confused(2)
    assert part.category_ids == (CUP, CAR)
    assert part.counts.tolist() == [[5, 1, 2], [1, 3, 4], [0, 6, 0]]
    assert whole.most_confused(5).counts.tolist() == counts.tolist()


def test_of_categories_that_are_never_wrong_the_most_frequent_are_kept():
    whole = Confusion(category_ids=(1, 2, 3), counts=np.diag([0, 4, 2, 0]))
    assert whole.most_confused(2).category_ids == (2, 3)
