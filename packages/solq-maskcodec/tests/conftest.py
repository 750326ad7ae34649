"""Masks to test with, what the published code made of 120 of them, hypothesis without chance."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from pycocotools import mask as coco_masks
from scipy.fft import idctn

from solq_maskcodec import crop_masks, rle_to_masks

_DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
_REAL = (
    _DATA / "coco_val2014_100" / "annotations" / "instances_val2014_100.json",
    _DATA / "lvis_masks" / "lvis_val_100.json",
)

# The same examples on every run; no deadline, because shared machines are slow at times.
settings.register_profile("reproducible", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("reproducible")


@dataclass(frozen=True, kw_only=True)
class Published:
    """The published code's inputs and outputs, see fixtures/README.md."""

    image_rles: list[dict[str, Any]]
    boxes: NDArray[np.float32]
    masks: NDArray[np.bool_]
    vectors: NDArray[np.float32]
    decoded: NDArray[np.bool_]
    pasted_rles: list[dict[str, Any]]
    zigzag: NDArray[np.int16]


@pytest.fixture(scope="session")
def published() -> Published:
    with np.load(Path(__file__).parent / "fixtures" / "published.npz") as arrays:
        sizes = arrays["image_sizes"].tolist()

        def rles(name: str) -> list[dict[str, Any]]:
            lines = str(arrays[name]).split("\n")
            return [
                {"size": size, "counts": counts} for size, counts in zip(sizes, lines, strict=True)
            ]

        def bits(name: str) -> NDArray[np.bool_]:
            return np.unpackbits(arrays[name], axis=1).reshape(-1, 128, 128).astype(bool)

        return Published(
            image_rles=rles("image_rle"),
            boxes=arrays["boxes"],
            masks=bits("masks"),
            vectors=arrays["vectors"],
            decoded=bits("decoded"),
            pasted_rles=rles("pasted_rle"),
            zigzag=arrays["zigzag"],
        )


@pytest.fixture(scope="session")
def real_masks():
    """The polygons of 100 COCO and 100 LVIS images in their boxes, bool [1771, 128, 128]."""
    absent = [file.name for file in _REAL if not file.exists()]
    if absent:
        pytest.skip(f"real masks absent from ../shared/data: {', '.join(absent)}")
    crops = [crop for file in _REAL for crop in _crops(json.loads(file.read_text("utf-8")))]
    masks = np.concatenate(crops)
    return masks[masks.any((1, 2))]  # a few slivers round to nothing


def _crops(annotations):
    sizes = {image["id"]: (image["height"], image["width"]) for image in annotations["images"]}
    for annotation in annotations["annotations"]:
        polygons = annotation["segmentation"]
        if isinstance(polygons, list) and not annotation.get("iscrowd", 0):
            rles = coco_masks.frPyObjects(polygons, *sizes[annotation["image_id"]])
            mask = rle_to_masks([coco_masks.merge(rles)])
            x, y, width, height = annotation["bbox"]
            if mask.sum() >= 16:
                yield crop_masks(mask, np.array([[x, y, x + width, y + height]]), 128)


@pytest.fixture(scope="session")
def blobs():
    """A function that makes smooth random masks: low frequencies, thresholded."""

    def make(count, size, seed=0):
        spectrum = np.zeros((count, size, size))
        spectrum[:, :6, :6] = np.random.default_rng(seed).standard_normal((count, 6, 6))
        return idctn(spectrum, axes=(1, 2), norm="ortho") > 0

    return make
