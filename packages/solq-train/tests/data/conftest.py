"""A small data set on disk that a test can spoil, and the way to the shared real images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from solq_model.categories import Categories

HEIGHT, WIDTH = 30, 40


@dataclass
class SmallSet:
    """Two images of 40 x 30 pixels: one with a square, a ring-shaped run length and a crowd."""

    folder: Path
    document: dict[str, Any]

    @property
    def annotations(self) -> Path:
        return self.folder / "instances.json"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def categories(self) -> Categories:
        return Categories.contiguous(self.document["categories"])

    def save(self) -> Path:
        self.annotations.write_text(json.dumps(self.document))
        return self.annotations


def column_runs(mask: np.ndarray) -> list[int]:
    """Run lengths counted one pixel at a time, for masks to compare with."""
    runs, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            runs.append(0)
            value = not value
        runs[-1] += 1
    return runs


@pytest.fixture
def small_set(tmp_path: Path) -> SmallSet:
    crowd = np.zeros((HEIGHT, WIDTH), dtype=bool)
    crowd[20:28, 5:30] = True
    bar = np.zeros((HEIGHT, WIDTH), dtype=bool)
    bar[5:15, 20:30] = True
    bar[8:12, 23:27] = False
    size = [HEIGHT, WIDTH]
    document = {
        "images": [
            {"id": 11, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
            {"id": 12, "file_name": "b.png", "height": HEIGHT, "width": WIDTH},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 11,
                "category_id": 7,
                "bbox": [2, 3, 10, 8],
                "area": 80,
                "iscrowd": 0,
                "segmentation": [[2, 3, 12, 3, 12, 11, 2, 11]],
            },
            {
                "id": 2,
                "image_id": 11,
                "category_id": 3,
                "bbox": [20, 5, 10, 10],
                "area": 84,
                "segmentation": {"size": size, "counts": column_runs(bar)},
            },
            {
                "id": 3,
                "image_id": 11,
                "category_id": 3,
                "bbox": [5, 20, 25, 8],
                "area": 200,
                "iscrowd": 1,
                "segmentation": {"size": size, "counts": column_runs(crowd)},
            },
        ],
        "categories": [{"id": 3, "name": "bar"}, {"id": 7, "name": "square"}],
    }
    small = SmallSet(folder=tmp_path, document=document)
    small.images.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        pixels = rng.integers(0, 256, size=(HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(small.images / name)
    small.save()
    return small


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(__file__).resolve().parents[4].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real images are absent: no folder {folder.parent.name}/{folder.name}")
    return folder
