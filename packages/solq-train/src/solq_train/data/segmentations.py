"""COCO segmentations (polygons, uncompressed and compressed run lengths) → masks."""

from __future__ import annotations

import sys
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco_mask

from solq_maskcodec import rle_to_masks
from solq_train.data.defects import DefectKind, Fault, shown

# Polygons [[x, y, x, y, …], …], or {"size": [height, width], "counts": run lengths or a string}.
Segmentation = list[Any] | dict[str, Any]

# pycocotools walks along every polygon edge in steps of a fifth of a pixel and keeps them all, so a
# coordinate of 1e9 would take gigabytes. No image format in use is that many pixels wide.
LARGEST_COORDINATE = 1e5
_NUMBERS = frozenset((int, float))
_LARGEST = sys.float_info.max


def segmentation_mask(
    segmentation: Segmentation, image_size: tuple[int, int]
) -> Bool[np.ndarray, "height width"]:
    """The pixels of a segmentation without `segmentation_fault`; ValueError for a broken string."""
    # Not pycocotools' decoder: given fewer runs than pixels it returns uninitialised memory, and
    # NumPy 2 warns about how it makes its arrays.
    if isinstance(segmentation, list):
        parts = coco_mask.frPyObjects(segmentation, *image_size)
        return rle_to_masks([coco_mask.merge(parts)])[0]
    return rle_to_masks([segmentation])[0]


def segmentation_fault(segmentation: object, image_size: tuple[int, int]) -> Fault | None:
    """What is wrong with a segmentation, as far as can be seen without decoding it; else None."""
    if isinstance(segmentation, list):
        return _polygons_fault(segmentation)
    if isinstance(segmentation, dict):
        return _rle_fault(segmentation, image_size)
    expected = "a list of polygons or an object with run lengths"
    return (
        DefectKind.WRONG_VALUE,
        f"'segmentation' must be {expected}, got {shown(segmentation)}",
    )


def is_finite_number(value: object) -> bool:
    """Whether a JSON value is a number that a float can hold (True and False are no numbers)."""
    return type(value) in _NUMBERS and -_LARGEST <= value <= _LARGEST  # type: ignore[operator]


def _polygons_fault(polygons: list[Any]) -> Fault | None:
    if not polygons:
        return DefectKind.BAD_POLYGON, "'segmentation' must have at least one polygon, got none"
    for index, polygon in enumerate(polygons):
        name = f"segmentation[{index}]"
        if not isinstance(polygon, list):
            what = f"{name} must be a list [x, y, x, y, …], got {shown(polygon)}"
            return DefectKind.WRONG_VALUE, what
        # With four numbers pycocotools would take the polygon for a box.
        if len(polygon) < 6 or len(polygon) % 2:
            what = (
                f"{name} must have at least 3 points (6 numbers x, y, …, an even count), "
                f"got {len(polygon)} numbers"
            )
            return DefectKind.BAD_POLYGON, what
    together = polygons[0] if len(polygons) == 1 else list(chain.from_iterable(polygons))
    return _coordinates_fault(together)


def _coordinates_fault(coordinates: list[Any]) -> Fault | None:
    # COCO has 5 million polygon points: the sound case is decided by C loops alone. A sum is not
    # finite when one of its terms is not, and it refuses strings and nulls.
    try:
        if max(coordinates) <= LARGEST_COORDINATE and min(coordinates) >= -LARGEST_COORDINATE:
            total = sum(coordinates)
            if total == total and _NUMBERS.issuperset(map(type, coordinates)):
                return None
    except TypeError:
        pass
    for value in coordinates:
        if not isinstance(value, int | float) or isinstance(value, bool):
            what = f"'segmentation' must hold numbers only, got {shown(value)}"
            return DefectKind.WRONG_VALUE, what
        if not is_finite_number(value):
            what = f"'segmentation' must hold finite numbers, got {shown(value)}"
            return DefectKind.NOT_FINITE, what
    furthest = max(coordinates, key=abs)
    what = f"'segmentation' must stay within {LARGEST_COORDINATE:,.0f} pixels, got {furthest}"
    return DefectKind.BAD_POLYGON, what


def _rle_fault(rle: dict[str, Any], image_size: tuple[int, int]) -> Fault | None:
    for key in ("size", "counts"):
        if key not in rle:
            return DefectKind.MISSING_KEY, f"key '{key}' is missing in 'segmentation'"
    size, counts = rle["size"], rle["counts"]
    if size != list(image_size):
        what = (
            f"segmentation.size must be the image's [height, width] {list(image_size)}, "
            f"got {shown(size)}"
        )
        return DefectKind.RLE_SIZE, what
    if not isinstance(counts, str | list):
        what = f"segmentation.counts must be a list or a string, got {shown(counts)}"
        return DefectKind.WRONG_VALUE, what
    return _runs_fault(counts, image_size) if isinstance(counts, list) else None


def _runs_fault(runs: list[Any], image_size: tuple[int, int]) -> Fault | None:
    if not all(type(run) is int and run >= 0 for run in runs):
        what = f"segmentation.counts must be run lengths of at least 0, got {shown(runs)}"
        return DefectKind.RLE_CORRUPT, what
    height, width = image_size
    if sum(runs) != height * width:
        what = (
            f"segmentation.counts must add up to {height * width} pixels ({height} x {width}), "
            f"got {sum(runs)}"
        )
        return DefectKind.RLE_CORRUPT, what
    return None
