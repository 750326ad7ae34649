"""The quality of what was found in an image."""

from __future__ import annotations

import numpy as np
import pytest

from solq_maskcodec import masks_to_rle
from solq_train.data import CocoAnnotation, CocoImage
from solq_train.metrics.image_quality import image_quality


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


def image(*annotations: CocoAnnotation) -> CocoImage:
    return CocoImage(id=1, file_name="1.png", height=20, width=20, annotations=annotations)


def found(box: tuple[int, ...], category_id: int = 1, score: float = 0.9):
    return {"image_id": 1, "category_id": category_id, "score": score, **rectangle(*box)}


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
