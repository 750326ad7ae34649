"""Masks to test with, what the published code made of 120 of them, hypothesis without chance."""

import json
import os
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
# Others on every run, for the sanitizers; what fails is printed with the line that repeats it.
settings.register_profile("fuzz", deadline=None, max_examples=3000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "reproducible"))


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


@pytest.fixture(scope="session", params=["numpy", "torch", "array_api_strict", "jax.numpy"])
def to_library(request):
    """A function that makes a NumPy array one of each library, as far as they are installed."""
    library = pytest.importorskip(request.param)
    return library.from_numpy if request.param == "torch" else library.asarray


@pytest.fixture(scope="session")
def blobs():
    """A function that makes smooth random masks: low frequencies, thresholded."""

    def make(count, size, seed=0):
        spectrum = np.zeros((count, size, size))
        spectrum[:, :6, :6] = np.random.default_rng(seed).standard_normal((count, 6, 6))
        return idctn(spectrum, axes=(1, 2), norm="ortho") > 0

    return make


@pytest.fixture
def annotations():
    """A COCO annotation file's content, anew each time: five objects and a crowd in three images.

    Ids start at 0. Object 0 is small (polygon), 1 medium (polygons of two parts), 2 large (RLE), 3
    medium with a box across the image's border, 4 has its box outside the image; 5 is a crowd.
    """
    rows, columns = np.mgrid[:120, :140]
    ellipse = ((rows - 60) / 55) ** 2 + ((columns - 70) / 65) ** 2 < 1
    large = coco_masks.encode(np.asfortranarray(ellipse, np.uint8))
    columns_from_30 = {"size": [60, 80], "counts": [30 * 60, 50 * 60]}
    return {
        "images": [
            {"id": 8, "height": 60, "width": 80},
            {"id": 3, "height": 120, "width": 140},
            {"id": 5, "height": 50, "width": 50},
        ],
        "categories": [{"id": 1, "name": "one"}, {"id": 7, "name": "seven"}],
        "annotations": [
            _entry(0, 8, 1, [[10, 10, 30, 10, 30, 20, 20, 20, 20, 40, 10, 40]], [10, 10, 20, 30]),
            _entry(
                1, 8, 7, [[40, 5, 75, 5, 75, 35], [42, 8, 75, 40, 70, 55, 42, 55]], [40, 5, 35, 50]
            ),
            _entry(2, 3, 1, {**large, "counts": large["counts"].decode()}, [5, 5, 130, 110]),
            _entry(3, 3, 7, [[120, 100, 150, 100, 150, 130, 90, 130]], [90, 100, 60, 30]),
            _entry(4, 3, 7, [[200, 10, 210, 10, 210, 20]], [200, 10, 10, 10]),
            _entry(5, 8, 1, columns_from_30, [30, 0, 50, 60], iscrowd=1),
        ],
    }


def _entry(number, image_id, category_id, segmentation, bbox, **more):
    keys = ("id", "image_id", "category_id", "segmentation", "bbox")
    values = number, image_id, category_id, segmentation, bbox
    return dict(zip(keys, values, strict=True)) | more
