"""Detections → the confusion matrix: which category was found where which one is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from pycocotools import mask as rle_masks

from solq_train.data import CocoFile, CocoImage
from solq_train.metrics.detections import Detection
from solq_train.metrics.image_quality import IN_CROWD, regions_of

IOU = 0.5  # from which on a detection is one of an object


@dataclass(frozen=True, kw_only=True, eq=False)
class Confusion:
    """How often each category was found where each category is.

    The last row counts detections where no object is, the last column objects that were not found.
    """

    category_ids: tuple[int, ...]
    counts: Int64[np.ndarray, "true found"]  # one more than categories, both

    def most_confused(self, number: int) -> Confusion:
        """The matrix of the categories that are wrong most often (of equals, are there or found
        most often), in their order by id.

        Objects and detections of other categories count where one of these is their partner, as if
        they were none.
        """
        places = np.arange(len(self.category_ids))
        wrong = self.counts.copy()
        wrong[places, places] = 0
        errors, uses = ((each.sum(axis=0) + each.sum(axis=1))[:-1] for each in (wrong, self.counts))
        chosen = np.sort(np.lexsort((-uses, -errors))[:number])
        rest = np.setdiff1d(places, chosen)
        counts = np.zeros((len(chosen) + 1, len(chosen) + 1), dtype=np.int64)
        counts[:-1, :-1] = self.counts[np.ix_(chosen, chosen)]
        counts[:-1, -1] = self.counts[chosen, -1] + self.counts[np.ix_(chosen, rest)].sum(axis=1)
        counts[-1, :-1] = self.counts[-1, chosen] + self.counts[np.ix_(rest, chosen)].sum(axis=0)
        return Confusion(
            category_ids=tuple(self.category_ids[place] for place in chosen), counts=counts
        )


def confusion_matrix(
    coco: CocoFile, detections: Sequence[Detection], *, threshold: float, has_masks: bool
) -> Confusion:
    """The confusion of detections of at least this score, whatever their category.

    In an image, detections and objects are paired one to one by falling IoU of their masks (boxes
    of a detector), down to 0.5. Detections without an object that lie in a crowd region of their
    category are left out.
    """
    category_ids = tuple(sorted(category["id"] for category in coco.categories))
    place_of = {category_id: place for place, category_id in enumerate(category_ids)}
    counts = np.zeros((len(category_ids) + 1,) * 2, dtype=np.int64)
    by_image: defaultdict[int, list[Detection]] = defaultdict(list)
    for detection in detections:
        if detection["score"] >= threshold:
            by_image[detection["image_id"]].append(detection)
    for image in coco.images:
        for true, found in _pairs(image, by_image[image.id], has_masks, place_of):
            counts[true, found] += 1
    return Confusion(category_ids=category_ids, counts=counts)


def _pairs(
    image: CocoImage,
    detections: Sequence[Detection],
    has_masks: bool,
    place_of: Mapping[int, int],
) -> list[tuple[int, int]]:
    """Places of true and found category; -1 for none."""
    annotations = list(image.annotations)
    true = [place_of[item.category_id] for item in annotations]
    found = [place_of[detection["category_id"]] for detection in detections]
    crowd = np.array([item.is_crowd for item in annotations], dtype=bool)
    overlaps = _overlaps(image, detections, crowd, has_masks)
    pairs = []
    left_objects, left_detections = set(np.flatnonzero(~crowd).tolist()), set(range(len(found)))
    for place in np.argsort(-overlaps, axis=None, kind="stable").tolist():
        row, column = divmod(place, len(annotations))
        if overlaps[row, column] < IOU:
            break
        if row in left_detections and column in left_objects:
            left_detections.remove(row)
            left_objects.remove(column)
            pairs.append((true[column], found[row]))
    in_crowd = {
        row
        for row in left_detections
        for column in np.flatnonzero(crowd).tolist()
        if true[column] == found[row] and overlaps[row, column] >= IN_CROWD
    }
    pairs += [(-1, found[row]) for row in sorted(left_detections - in_crowd)]
    pairs += [(true[column], -1) for column in sorted(left_objects)]
    return pairs


def _overlaps(
    image: CocoImage,
    detections: Sequence[Detection],
    crowd: np.ndarray[Any, np.dtype[np.bool_]],
    has_masks: bool,
) -> Float64[np.ndarray, "detections objects"]:
    if not detections or not crowd.size:
        return np.zeros((len(detections), crowd.size))
    found: Any = [d["segmentation" if has_masks else "bbox"] for d in detections]
    truth: Any = regions_of(image, has_masks)
    if not has_masks:
        found, truth = np.array(found, dtype=np.float64), np.array(truth, dtype=np.float64)
    return np.asarray(rle_masks.iou(found, truth, crowd.astype(np.uint8).tolist()))
