"""Detections of one image → how well they agree with its objects, in one number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle_masks
from scipy.optimize import linear_sum_assignment

from solq_maskcodec import masks_to_rle
from solq_train.data import CocoAnnotation, CocoImage, annotation_mask
from solq_train.metrics.detections import Detection

IN_CROWD = 0.5  # share of a detection in a crowd region from which on it counts for nothing


def image_quality(image: CocoImage, detections: Sequence[Detection], *, has_masks: bool) -> float:
    """How well detections agree with the objects of an image, from 0 to 1.

    Objects and detections of one category are paired one to one so that the sum of their IoU is
    largest. The quality is twice this sum, divided by the number of objects and detections: 1 for
    all objects found exactly and nothing else, and 1 where nothing is to find and nothing found.
    Detections without an object that lie in a crowd of their category are left out. It is the
    panoptic quality without its threshold of 0.5.
    """
    return quality_of(image, regions_of(image, has_masks), detections, has_masks)


def regions_of(image: CocoImage, has_masks: bool) -> list[Any]:
    """What each annotation covers, as pycocotools takes it."""
    if not has_masks:
        return [list(annotation.bbox_xywh) for annotation in image.annotations]
    size = (image.height, image.width)
    return [masks_to_rle(annotation_mask(item, size)[None])[0] for item in image.annotations]


def quality_of(
    image: CocoImage, regions: Sequence[Any], detections: Sequence[Detection], has_masks: bool
) -> float:
    total, num_detections = 0.0, len(detections)
    for category_id in {detection["category_id"] for detection in detections}:
        own = [detection for detection in detections if detection["category_id"] == category_id]
        pairs = [
            (item, region)
            for item, region in zip(image.annotations, regions, strict=True)
            if item.category_id == category_id
        ]
        matched, ignored = _match(own, pairs, has_masks)
        total += matched
        num_detections -= ignored
    num_objects = sum(not item.is_crowd for item in image.annotations)
    return 2 * total / (num_objects + num_detections) if num_objects + num_detections else 1.0


def _match(
    detections: Sequence[Detection], objects: Sequence[tuple[CocoAnnotation, Any]], has_masks: bool
) -> tuple[float, int]:
    """The sum of the pairs' IoU, and how many detections lie in a crowd."""
    if not objects:
        return 0.0, 0
    found: Any = [d["segmentation" if has_masks else "bbox"] for d in detections]
    crowd = np.array([item.is_crowd for item, _ in objects])
    truth: Any = [region for _, region in objects]
    if not has_masks:
        found, truth = np.array(found), np.array(truth)
    overlaps = np.asarray(rle_masks.iou(found, truth, crowd.astype(np.uint8).tolist()))
    rows, columns = linear_sum_assignment(overlaps[:, ~crowd], maximize=True)
    gains = overlaps[:, ~crowd][rows, columns]
    alone = np.setdiff1d(np.arange(len(detections)), rows[gains > 0])
    in_crowd = overlaps[alone][:, crowd].max(axis=1, initial=0.0) >= IN_CROWD
    return float(gains.sum()), int(in_crowd.sum())
