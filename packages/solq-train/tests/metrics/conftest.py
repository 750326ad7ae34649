"""A small annotation file, and the real ones where they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[4].parent / "shared"


def rectangle(image_size: tuple[int, int], box_xyxy: tuple[int, int, int, int]) -> dict[str, Any]:
    """The uncompressed run lengths of a filled rectangle."""
    height, width = image_size
    x0, y0, x1, y1 = box_xyxy
    pixels = [int(x0 <= x < x1 and y0 <= y < y1) for x in range(width) for y in range(height)]
    counts, inside = [0], 0
    for pixel in pixels:
        if pixel != inside:
            counts.append(0)
            inside = pixel
        counts[-1] += 1
    return {"size": [height, width], "counts": counts}


def annotation(
    annotation_id: int,
    image_id: int,
    category_id: int,
    box_xyxy: tuple[int, int, int, int],
    *,
    is_crowd: bool = False,
) -> dict[str, Any]:
    """A filled rectangle in an image of 60 x 80 pixels."""
    x0, y0, x1, y1 = box_xyxy
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "iscrowd": int(is_crowd),
        "segmentation": rectangle((60, 80), box_xyxy),
    }


@pytest.fixture
def rectangles(tmp_path: Path) -> Path:
    """Two images of 60 x 80 pixels: a cup and a dog (ids 7 and 23), a dog and a crowd of dogs."""
    path = tmp_path / "rectangles.json"
    document = {
        "images": [
            {"id": 40, "file_name": "a.png", "height": 60, "width": 80},
            {"id": 30, "file_name": "b.png", "height": 60, "width": 80},
        ],
        "categories": [{"id": 23, "name": "dog"}, {"id": 7, "name": "cup"}],
        # Ids from 0: pycocotools by itself takes the first for "no match".
        "annotations": [
            annotation(0, 40, 7, (10, 10, 30, 30)),
            annotation(1, 40, 23, (40, 5, 75, 55)),
            annotation(2, 30, 23, (20, 20, 60, 40)),
            annotation(3, 30, 23, (0, 0, 16, 60), is_crowd=True),
        ],
    }
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def coco_val2014_100() -> Path:
    """The folder of the COCO API's own example: 100 images' annotations and stored detections."""
    folder = SHARED / "data" / "coco_val2014_100"
    if not folder.is_dir():
        pytest.skip(f"{folder.name} absent")
    return folder


@pytest.fixture
def coco_mini_cc() -> Path:
    """The annotation file of some real images."""
    path = SHARED / "data" / "coco_mini_cc" / "annotations" / "instances_val2017.json"
    if not path.is_file():
        pytest.skip("coco_mini_cc absent")
    return path
