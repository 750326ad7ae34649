"""Other libraries' masks → COCO RLEs and boxes, and back. None of the libraries is imported."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..validate import checked_boxes, checked_image_size
from .polygons import counts_of_polygons
from .rle import (
    box_of_counts,
    counts_of_rle,
    counts_of_window,
    masks_to_rle,
    size_of_rle,
    strings_of_counts,
)

# Compressed RLEs, `{"size": [height, width], "counts": str}`, and the boxes of the same objects,
# (x0, y0, x1, y1) in pixels, float32 [instances, 4]: what `crop_masks` begins with.
RLEsWithBoxes = tuple[list[dict[str, Any]], NDArray[np.float32]]

_CompactMask = TypeVar("_CompactMask")


def from_coco(
    annotations: Iterable[Mapping[str, Any]], image_size: tuple[int, int]
) -> RLEsWithBoxes:
    """RLEs and boxes of the annotations of one image in a COCO or LVIS file.

    Of each annotation, `segmentation` (polygons or an RLE, compressed or not) and `bbox`
    (x, y, width, height) are read. All are taken, crowds too. image_size is (height, width).
    Raises ValueError, with the index of the annotation, for what is missing or broken.
    """
    entries = list(annotations)
    height, width = checked_image_size(image_size)
    counts = []
    for index, entry in enumerate(entries):
        segmentation = _value(entry, "segmentation", f"annotations[{index}]")
        if isinstance(segmentation, Mapping):
            counts.append(counts_of_rle(segmentation, index, (height, width)))
        else:
            name = f"annotations[{index}]: segmentation"
            counts.append(counts_of_polygons(segmentation, height, width, name))
    return _rles(counts, (height, width)), _corners(entries, "annotations").astype(np.float32)


def to_coco(
    rles: Sequence[Mapping[str, Any]], boxes: Any, scores: Any, category_ids: Any, image_id: int
) -> list[dict[str, Any]]:
    """COCO results of one image, for `json.dump` and for pycocotools' `loadRes`.

    rles are COCO RLEs, from `decode_to_rle` for example; compressed ones are passed on unread.
    boxes [instances, 4] are (x0, y0, x1, y1) in pixels; scores and category_ids are [instances].
    All but the RLEs may be lists, arrays or tensors on the CPU. Raises ValueError for lengths that
    disagree and for numbers that are not finite, which JSON does not have.
    """
    corners = checked_boxes(np.asarray(boxes), len(rles), "rles").astype(np.float64)
    values = np.asarray(scores, np.float64)
    categories = np.asarray(category_ids)
    if values.shape != (len(rles),) or categories.shape != (len(rles),):
        msg = (
            f"scores and category_ids must be one for each of {len(rles)} rles, "
            f"got shapes {values.shape} and {categories.shape}"
        )
        raise ValueError(msg)
    if not np.isfinite(values).all():
        msg = f"scores must be finite, got {values[~np.isfinite(values)][0]}"
        raise ValueError(msg)
    corners[:, 2:] -= corners[:, :2]
    entries = zip(categories, corners.tolist(), rles, values.tolist(), strict=True)
    return [
        {
            "image_id": operator.index(image_id),
            "category_id": operator.index(category_id),
            "bbox": box_xywh,
            "segmentation": _compressed(rle, index),
            "score": score,
        }
        for index, (category_id, box_xywh, rle, score) in enumerate(entries)
    ]


def from_sam(records: Iterable[Mapping[str, Any]]) -> RLEsWithBoxes:
    """RLEs and boxes of what the automatic mask generator of SAM or SAM 2 returns.

    Of each record, `segmentation` (in any of the three output modes) and `bbox` are read. SAM
    measures a box from its first to its last pixel (utils/amg.py, `batched_mask_to_box`); here, as
    everywhere in this package, the last one lies inside, so boxes are a pixel wider and higher.
    Raises ValueError, with the index of the record, for what is missing or broken.
    """
    entries = list(records)
    rles = []
    for index, entry in enumerate(entries):
        mask = _value(entry, "segmentation", f"records[{index}]")
        if isinstance(mask, Mapping):
            rles.append(_compressed(mask, index))
        elif getattr(mask, "ndim", 0) == 2:
            rles.append(masks_to_rle(mask[None])[0])
        else:
            expected = "a mask [height, width] or an RLE"
            msg = f"records[{index}]: segmentation must be {expected}, got {mask!r:.200}"
            raise ValueError(msg)
    boxes = _corners(entries, "records") + np.array([0, 0, 1, 1])
    return rles, boxes.astype(np.float32)


def from_supervision(compact_mask: Any) -> RLEsWithBoxes:
    """RLEs and boxes of the masks in a `CompactMask` of supervision 0.28 or later.

    Boxes are those of the stored crops. Their last pixel lies inside, while supervision counts up
    to its index, which is one less. No mask is laid out in the image.
    """
    height, width = compact_mask.image_shape
    corners = np.zeros((len(compact_mask), 4), np.float32)
    counts = []
    for index, (x, y) in enumerate(compact_mask.offsets.tolist()):
        window = compact_mask.crop(index)
        corners[index] = x, y, x + window.shape[1], y + window.shape[0]
        counts.append(counts_of_window(window, (x, y), (height, width)))
    return _rles(counts, (height, width)), corners


def to_supervision(
    rles: Sequence[Mapping[str, Any]],
    image_size: tuple[int, int],
    compact_mask: type[_CompactMask],
) -> _CompactMask:
    """The masks as an object of the class given, `CompactMask` of supervision 0.30 or later.

    Each is stored in the smallest crop that holds it. image_size is (height, width). Raises
    ValueError, with the index of the RLE, for a broken one or one of another size.
    """
    if not hasattr(compact_mask, "from_coco_rle"):
        msg = f"compact_mask must be supervision.CompactMask, 0.30 or later, got {compact_mask!r}"
        raise TypeError(msg)
    height, width = checked_image_size(image_size)
    counts = [counts_of_rle(rle, index, (height, width)) for index, rle in enumerate(rles)]
    corners = np.array([box_of_counts(runs, height) for runs in counts]).reshape(-1, 4)
    # Up to the index of the last pixel. Without a pixel, one of background is stored.
    corners[:, 2:] = np.maximum(corners[:, 2:] - 1, 0)
    make: Any = compact_mask
    masks: _CompactMask = make.from_coco_rle(
        _rles(counts, (height, width)), corners, (height, width)
    )
    return masks


def _value(entry: Mapping[str, Any], key: str, name: str) -> Any:
    if not isinstance(entry, Mapping) or key not in entry:
        msg = f'{name} must be a dict with "{key}", got {entry!r:.200}'
        raise ValueError(msg)
    return entry[key]


def _corners(entries: list[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    """(x0, y0, x1, y1) of the (x, y, width, height) of each entry's `bbox`."""
    corners = np.zeros((len(entries), 4))
    for index, entry in enumerate(entries):
        box = np.asarray(_value(entry, "bbox", f"{name}[{index}]"))
        if box.shape != (4,) or box.dtype.kind not in "iuf" or not np.isfinite(box).all():
            msg = (
                f"{name}[{index}]: bbox must be four finite numbers [x, y, width, height], "
                f"got {entry['bbox']!r:.200}"
            )
            raise ValueError(msg)
        corners[index] = box
    corners[:, 2:] += corners[:, :2]
    return corners


def _rles(counts: list[NDArray[np.int64]], image_size: tuple[int, int]) -> list[dict[str, Any]]:
    return [{"size": list(image_size), "counts": text} for text in strings_of_counts(counts)]


def _compressed(rle: Mapping[str, Any], index: int) -> dict[str, Any]:
    """The RLE with counts as str, which JSON can hold."""
    size = size_of_rle(rle, index)
    counts = rle["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("ascii")
    if not isinstance(counts, str):
        counts = strings_of_counts([counts_of_rle(rle, index, size)])[0]
    return {"size": list(size), "counts": counts}
