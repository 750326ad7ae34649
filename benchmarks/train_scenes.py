"""A made-up data set in COCO layout: as many and as large objects as COCO has, on smooth noise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH, CATEGORIES = 480, 640, 80
OBJECTS, CORNERS = 7.3, 30  # COCO's own means, of train2017


def write_scenes(folder: Path, num_images: int) -> None:
    """Writes `train2017` with its annotations, and the same again as `val2017`."""
    random = np.random.default_rng(0)
    (folder / "annotations").mkdir(parents=True)
    (folder / "train2017").mkdir()
    names = [f"{image_id:012d}.jpg" for image_id in range(1, num_images + 1)]
    for name in names:
        # Noise of this grain takes as long to read as a photograph.
        noise = random.integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        picture.save(folder / "train2017" / name, quality=90)
    annotations = [
        _object(random, image_id)
        for image_id in range(1, num_images + 1)
        for _ in range(max(1, int(random.poisson(OBJECTS))))
    ]
    document = {
        "images": [
            {"id": image_id, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for image_id, name in enumerate(names, start=1)
        ],
        "annotations": [{"id": i, **entry} for i, entry in enumerate(annotations, start=1)],
        "categories": [{"id": i, "name": f"kind {i}"} for i in range(1, CATEGORIES + 1)],
    }
    for split in ("train2017", "val2017"):
        path = folder / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(document), encoding="utf-8")
    (folder / "val2017").symlink_to("train2017", target_is_directory=True)


def _object(random: np.random.Generator, image_id: int) -> dict[str, Any]:
    """A ragged ellipse, wholly within the image."""
    radii = np.exp(random.uniform(np.log(8), np.log(150), 2))
    center = random.uniform(radii, np.array([WIDTH, HEIGHT]) - radii)
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    edge = radii * random.uniform(0.8, 1, (CORNERS, 1))
    points = (center + edge * np.stack([np.cos(angles), np.sin(angles)], axis=1)).round(2)
    low, high = points.min(axis=0), points.max(axis=0)
    x, y = points.T
    return {
        "image_id": image_id,
        "category_id": int(random.integers(1, CATEGORIES + 1)),
        "iscrowd": 0,
        "bbox": [*low.tolist(), *(high - low).round(2).tolist()],
        "area": float(abs(x @ np.roll(y, -1) - np.roll(x, -1) @ y) / 2),
        "segmentation": [points.ravel().tolist()],
    }
