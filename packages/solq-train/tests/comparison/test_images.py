"""The images where what was found differs."""

from __future__ import annotations

from types import SimpleNamespace

from solq_train.comparison import image_differences
from solq_train.data import CocoAnnotation, CocoFile, CocoImage


def image(number: int) -> CocoImage:
    """An image with one object of 8 x 8 pixels."""
    item = CocoAnnotation(
        id=number,
        category_id=1,
        bbox_xywh=(0.0, 0.0, 8.0, 8.0),
        segmentation=[[0, 0, 8, 0, 8, 8, 0, 8]],
        area=64.0,
        is_crowd=False,
    )
    name = f"{number}.png"
    return CocoImage(id=number, file_name=name, height=20, width=20, annotations=(item,))


def found(image_id: int, *, height: int = 8, score: float = 0.9):
    return {"image_id": image_id, "category_id": 1, "score": score, "bbox": [0, 0, 8, height]}


def test_images_are_in_order_of_their_largest_difference_and_weak_detections_left_out():
    images = tuple(map(image, (1, 2, 3)))
    coco = CocoFile(path=None, images=images, categories=[{"id": 1, "name": "a"}])
    runs = [
        SimpleNamespace(has_masks=False, detections=detections)
        for detections in (
            [found(n) for n in (1, 2, 3)],
            [found(1), found(2, height=4), found(3, score=0.2)],
        )
    ]
    steps = []
    differences = image_differences(coco, runs, 0.3, lambda: steps.append(1))
    assert [d.image.id for d in differences] == [3, 2, 1]
    assert [d.qualities for d in differences] == [(1.0, 0.0), (1.0, 0.5), (1.0, 1.0)]
    assert [d.largest for d in differences] == [-1.0, -0.5, 0.0]
    assert [len(own) for own in differences[0].detections] == [1, 0]
    assert len(steps) == 3
